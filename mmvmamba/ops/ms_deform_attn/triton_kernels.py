"""The Triton kernels of deformable attention: CUDA, ROCm, and the CPU under Triton's interpreter.

A program owns ``QUERIES`` queries of one image and head. It walks their samples, level by level and
point by point, and gathers the four cells around each as rows of all channels of the head, which
lie side by side in memory. Sums are float32, every offset has 64 bits, and all tensors are
contiguous: ``value`` ``(batch, tokens, heads, channels)``, ``locations`` ``(batch, queries, heads,
levels, points, 2)``, ``weights`` without its last axis, ``out`` ``(batch, queries, heads,
channels)``. ``geometry`` is ``(levels, 3)``, int64: height, width and first token of each level.
"""

import triton
import triton.language as tl

__all__ = ['ms_deform_attn_bwd_kernel', 'ms_deform_attn_fwd_kernel']


@triton.jit
def _own_queries(queries, heads, QUERIES: tl.constexpr):
    """Image, head and queries of this program, and which of them exist.

    Programs of the heads of one query follow each other: they sample near the same cells.
    """
    pid = tl.program_id(0).to(tl.int64)
    head, pid = pid % heads, pid // heads
    blocks = tl.cdiv(queries, QUERIES)
    query = pid % blocks * QUERIES + tl.arange(0, QUERIES)
    return pid // blocks, head, query, query < queries


@triton.jit
def _sample_place(locations, sample, q_in, height, width):
    """Where a sample of each query lies: the cell above left of it, and how far beyond that.

    A sample a cell or more outside the map has no neighbours: it is put at a place that has none.
    """
    x = tl.load(locations + sample * 2, mask=q_in, other=-1.0).to(tl.float32) * width - 0.5
    y = tl.load(locations + sample * 2 + 1, mask=q_in, other=-1.0).to(tl.float32) * height - 0.5
    # Before the conversion to integers, which is undefined for what does not fit. A NaN stays one.
    x = tl.where((x < -1.0) | (x >= width), -2.0, x)
    y = tl.where((y < -1.0) | (y >= height), -2.0, y)
    left, top = tl.floor(x), tl.floor(y)
    column = tl.where(left == left, left, 0.0).to(tl.int64)
    row = tl.where(top == top, top, 0.0).to(tl.int64)
    return row, column, y - top, x - left


@triton.jit
def _cell(row, column, height, width, start, heads, channels, q_in, c, c_in):
    """Offsets of the channels of a cell of each query, and which of them exist."""
    inside = q_in & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    token = start + row * width + column
    return (token * heads * channels)[:, None] + c[None, :], inside[:, None] & c_in[None, :]


@triton.jit
def ms_deform_attn_fwd_kernel(
    value, geometry, locations, weights, out,
    tokens, queries, heads, channels, levels, points,
    QUERIES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Writes ``out``."""
    b, head, query, q_in = _own_queries(queries, heads, QUERIES)
    c = tl.arange(0, CHANNELS)
    c_in = c < channels
    item = (b * queries + query) * heads + head
    value += (b * tokens * heads + head) * channels
    total = tl.zeros([QUERIES, CHANNELS], tl.float32)
    for level in range(levels):
        height = tl.load(geometry + level * 3)
        width = tl.load(geometry + level * 3 + 1)
        start = tl.load(geometry + level * 3 + 2)
        for point in range(points):
            sample = (item * levels + level) * points + point
            row, column, down, right = _sample_place(locations, sample, q_in, height, width)
            weight = tl.load(weights + sample, mask=q_in, other=0.0).to(tl.float32)
            for corner in tl.static_range(4):
                dy, dx = corner // 2, corner % 2
                at, inside = _cell(
                    row + dy, column + dx, height, width, start, heads, channels, q_in, c, c_in
                )
                share = (down if dy else 1.0 - down) * (right if dx else 1.0 - right)
                cell = tl.load(value + at, mask=inside, other=0.0).to(tl.float32)
                total += (weight * share)[:, None] * cell
    mask = q_in[:, None] & c_in[None, :]
    tl.store(out + (item * channels)[:, None] + c[None, :], total.to(out.dtype.element_ty), mask)


@triton.jit
def ms_deform_attn_bwd_kernel(
    value, geometry, locations, weights, grad_out, grad_value, grad_locations, grad_weights,
    tokens, queries, heads, channels, levels, points,
    QUERIES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Writes ``grad_locations`` and ``grad_weights``, adds to ``grad_value``.

    Many samples meet in a cell of ``grad_value``, which is float32 and holds zeros at first: they
    are added by atomic operations, whose order, and so the last bits of the sum, vary.
    """
    b, head, query, q_in = _own_queries(queries, heads, QUERIES)
    c = tl.arange(0, CHANNELS)
    c_in = c < channels
    item = (b * queries + query) * heads + head
    value += (b * tokens * heads + head) * channels
    grad_value += (b * tokens * heads + head) * channels
    upstream = tl.load(
        grad_out + (item * channels)[:, None] + c[None, :],
        mask=q_in[:, None] & c_in[None, :],
        other=0.0,
    ).to(tl.float32)
    for level in range(levels):
        height = tl.load(geometry + level * 3)
        width = tl.load(geometry + level * 3 + 1)
        start = tl.load(geometry + level * 3 + 2)
        for point in range(points):
            sample = (item * levels + level) * points + point
            row, column, down, right = _sample_place(locations, sample, q_in, height, width)
            weight = tl.load(weights + sample, mask=q_in, other=0.0).to(tl.float32)
            d_weight = tl.zeros([QUERIES], tl.float32)
            d_down = tl.zeros([QUERIES], tl.float32)
            d_right = tl.zeros([QUERIES], tl.float32)
            for corner in tl.static_range(4):
                dy, dx = corner // 2, corner % 2
                at, inside = _cell(
                    row + dy, column + dx, height, width, start, heads, channels, q_in, c, c_in
                )
                vertical = down if dy else 1.0 - down
                horizontal = right if dx else 1.0 - right
                share = vertical * horizontal
                tl.atomic_add(
                    grad_value + at,
                    (weight * share)[:, None] * upstream,
                    mask=inside,
                    sem='relaxed',
                )
                cell = tl.load(value + at, mask=inside, other=0.0).to(tl.float32)
                dot = tl.sum(cell * upstream, axis=1)
                d_weight += share * dot
                d_down += (horizontal if dy else -horizontal) * dot
                d_right += (vertical if dx else -vertical) * dot
            tl.store(grad_weights + sample, d_weight.to(grad_weights.dtype.element_ty), mask=q_in)
            d_x, d_y = weight * d_right * width, weight * d_down * height
            to = grad_locations + sample * 2
            tl.store(to, d_x.to(grad_locations.dtype.element_ty), mask=q_in)
            tl.store(to + 1, d_y.to(grad_locations.dtype.element_ty), mask=q_in)
