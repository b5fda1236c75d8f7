// The scan as a plain loop, for benchmarks/selective_scan.py --c: one direction, channels-last.
// Arrays: u, delta, out (batch, length, dim); A (state, dim), times log2(e); B, C (batch, length, state).
#include <math.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 64
#define MAX_STATE 64

static inline float exp2_of(float x) {
    x = x < -127.0f ? -127.0f : x;
    x = x > 128.0f ? 128.0f : x;
    float shifted = x + 12582912.0f;
    float rest = x - (shifted - 12582912.0f);
    float series = 0.001326472731307149f;
    series = series * rest + 0.009671512991189957f;
    series = series * rest + 0.05550733581185341f;
    series = series * rest + 0.24022242426872253f;
    series = series * rest + 0.6931470036506653f;
    series = series * rest + 1.0f;
    int32_t bits, exponent;
    memcpy(&bits, &series, 4);
    memcpy(&exponent, &shifted, 4);
    bits = (int32_t)((uint32_t)bits + ((uint32_t)exponent << 23));
    memcpy(&series, &bits, 4);
    return series;
}

static inline float softplus(float x) {
    float v = exp2_of((x < 0.0f ? x : -x) * 1.4426950408889634f);
    float s = v / (v + 2.0f), w = s * s;
    float series = 0.2802446782588959f;
    series = series * w + 0.27999138832092285f;
    series = series * w + 0.4002169966697693f;
    series = series * w + 0.6666641235351562f;
    return (x < 0.0f ? 0.0f : x) + (s + s + s * w * series);
}

void scan(long batch, long length, long dim, long state, const float *restrict u,
          const float *restrict delta, const float *restrict A, const float *restrict B,
          const float *restrict C, const float *restrict D, const float *restrict bias,
          float *restrict out) {
    for (long b = 0; b < batch; b++)
        for (long first = 0; first < dim; first += BLOCK) {
            long width = dim - first < BLOCK ? dim - first : BLOCK;
            float h[MAX_STATE * BLOCK], step[BLOCK], entry[BLOCK], y[BLOCK];
            memset(h, 0, sizeof h);
            for (long t = 0; t < length; t++) {
                const float *ut = u + (b * length + t) * dim + first;
                const float *dt = delta + (b * length + t) * dim + first;
                float *ot = out + (b * length + t) * dim + first;
                for (long c = 0; c < width; c++) {
                    step[c] = softplus(dt[c] + bias[first + c]);
                    entry[c] = step[c] * ut[c];
                    y[c] = D[first + c] * ut[c];
                }
                for (long n = 0; n < state; n++) {
                    float Bn = B[(b * length + t) * state + n], Cn = C[(b * length + t) * state + n];
                    float *hn = h + n * BLOCK;
                    const float *An = A + n * dim + first;
                    for (long c = 0; c < width; c++) {
                        hn[c] = hn[c] * exp2_of(step[c] * An[c]) + entry[c] * Bn;
                        y[c] += hn[c] * Cn;
                    }
                }
                memcpy(ot, y, width * sizeof(float));
            }
        }
}
