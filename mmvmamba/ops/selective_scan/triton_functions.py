"""What the Triton kernels of the scan share: rows of tiles, places of steps, step sizes."""

import triton
import triton.language as tl

__all__ = [
    'LN2',
    'LOG2E',
    'SIZES',
    'finish',
    'load',
    'pick',
    'place_at',
    'put',
    'sigmoid',
    'slope',
    'softplus',
    'spread',
    'step_size',
    'tokens_at',
    'vector',
]

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)

# What follows the size of an image: no variant of a kernel for what happens to be a multiple of 16.
SIZES = ['batch', 'length', 'segments', 'segment_length', 'chunk_length', 'splits', 'scratch_size']


@triton.jit
def pick(tile, index, i):
    """Row i of a tile, as a tile of one row."""
    # Unlike 0.0, -0.0 is neutral for every x, so the compiler can drop the sum. As a literal it
    # would become 0.0.
    neutral = tl.full([1, 1, 1], -0x80000000, tl.int32).to(tl.float32, bitcast=True)
    return tl.sum(tl.where(index == i, tile, neutral), axis=0, keep_dims=True)


@triton.jit
def put(tile, index, i, row):
    """The tile with its row i replaced."""
    return tl.where(index == i, row, tile)


@triton.jit
def finish(x, y, STEPS: tl.constexpr, DIMS: tl.constexpr):
    """Two ``(STEPS, DIMS)`` tiles, computed where each element is held once.

    The way through join and split makes the compiler do so. Left alone, it repeats what they are
    made of (the softplus) in every thread that needs them, and for every layout.
    """
    pair = tl.reshape(tl.reshape(tl.join(x, y), [1, STEPS, DIMS, 2]), [STEPS, DIMS, 2])
    return tl.split(pair)


@triton.jit
def spread(x, y, STEPS: tl.constexpr, DIMS: tl.constexpr):
    """Two finished tiles as ``(STEPS, DIMS, 1)``, ready to meet the states."""
    x, y = finish(x, y, STEPS, DIMS)
    return x[:, :, None], y[:, :, None]


@triton.jit
def softplus(x):
    """log(1 + exp(x)), precise for small results too; in float32 it equals x from 20 on."""
    # log1p(w) / w for w <= 1: the polynomial whose largest relative error is the least, 3e-8.
    w = tl.exp2(tl.abs(x) * -LOG2E)
    series = 0.005232694262 * w - 0.02950523877
    series = series * w + 0.07822595186
    series = series * w - 0.1366324579
    series = series * w + 0.1910600676
    series = series * w - 0.2484298221
    series = series * w + 0.3331909681
    series = series * w - 0.4999949314
    series = series * w + 1.0
    return series * w + tl.maximum(x, 0.0)


@triton.jit
def slope(x, y):
    """The derivative of softplus at x, where it is y: exp(x - y)."""
    return tl.exp2((x - y) * LOG2E)


@triton.jit
def sigmoid(x):
    w = tl.exp2(tl.abs(x) * -LOG2E)
    # A square of two instructions in place of a division of ten.
    root = tl.rsqrt(1.0 + w)
    return tl.where(x >= 0.0, 1.0, w) * root * root


@triton.jit
def load(pointer, offsets, mask):
    return tl.load(pointer + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def tokens_at(orders, k, t, inside, length):
    """The tokens that direction k visits at steps t."""
    token = k * 0 + t  # 64 bits wide; under the interpreter t is a plain int
    if orders is not None:
        token = tl.load(orders + k * length + t, mask=inside, other=0)
    return token


@triton.jit
def place_at(orders, k, t, inside, length, ORDER_ALL: tl.constexpr):
    """Where delta, B and C keep steps t."""
    place = k * 0 + t
    if ORDER_ALL:
        place = tokens_at(orders, k, t, inside, length)
    return place


@triton.jit
def vector(pointer, offset, channels, inside):
    """A value for each channel, as a tile of one row: zeros where the tensor is absent."""
    values = tl.zeros(channels.shape, tl.float32)
    if pointer is not None:
        values = load(pointer, offset + channels, inside)
    return values[None, :]


@triton.jit
def step_size(raw, mask, SOFTPLUS: tl.constexpr):
    """Steps outside get 0: they leave the state as it is."""
    if SOFTPLUS:
        raw = softplus(raw)
    return tl.where(mask, raw, 0.0)
