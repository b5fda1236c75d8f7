"""A vector of float32 lanes for numba kernels, so that each statement over channels is vector code.

LLVM splits the vector over the registers that the CPU has (512, 256 or 128 bits). Compared with an
inner loop that LLVM has to vectorise, nothing depends on what it can prove about aliasing.

Vectors are read from and written to arrays of a kernel's own or, without an array around it, the
memory at an address: an integer, as ``Tensor.data_ptr()`` gives it.

Multiplications and additions may be contracted to fused ones; nothing else is relaxed, so that NaN
and infinity pass through. ``exp2``, ``softplus`` and ``sigmoid`` rest on polynomials and have a
relative error of 2e-7, beside what the rounding of the exponent brings in the last two.
"""

import operator

from llvmlite import ir
from numba import float32, njit, types
from numba.extending import intrinsic, models, overload, register_model

from .instruction_set import vector_lanes

__all__ = [
    'FEW', 'LANES', 'broadcast', 'exp2', 'fold', 'get', 'load', 'load_few', 'load_four', 'put',
    'sigmoid', 'softplus', 'splat', 'store', 'total', 'totals_of_four',
]  # fmt: skip

# Four registers: with one alone, each operation waits for the one before, and softplus takes as
# long as its chain; with more, values leave the registers.
LANES = vector_lanes()
# About one register.
FEW = max(LANES // 4, 4)


class _Lanes(types.Type):
    """A vector of float32; no number in a kernel is of this type but in registers."""

    def __init__(self, count: int) -> None:
        super().__init__(name=f'Lanes{count}')
        self.floats = ir.VectorType(ir.FloatType(), count)


_all, _few, _four = _Lanes(LANES), _Lanes(FEW), _Lanes(4)


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, fe_type.floats)


def _pointer(context, builder, memory_type, memory, index, kind):
    """Where the float32 of that number is, as the place of a scalar or a vector."""
    if isinstance(memory_type, types.Integer):
        data = builder.inttoptr(memory, ir.FloatType().as_pointer())
    else:
        data = context.make_array(memory_type)(context, builder, memory).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _make_load(lanes: _Lanes):
    @intrinsic
    def load(typingctx, memory, index):
        def codegen(context, builder, signature, args):
            pointer = _pointer(context, builder, signature.args[0], *args, lanes.floats)
            vector = builder.load(pointer)
            vector.align = 4
            return vector

        return lanes(memory, types.intp), codegen

    return load


# Consecutive float32 from ``index`` on.
load, load_few, load_four = _make_load(_all), _make_load(_few), _make_load(_four)


@intrinsic
def store(typingctx, memory, index, value):
    """Writes the lanes to consecutive float32."""

    def codegen(context, builder, signature, args):
        memory, index, vector = args
        pointer = _pointer(context, builder, signature.args[0], memory, index, vector.type)
        builder.store(vector, pointer).align = 4
        return context.get_dummy_value()

    return types.void(memory, types.intp, value), codegen


@intrinsic
def get(typingctx, memory, index):
    """One float32; unlike in ``array[index]``, index is not negative."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(context, builder, signature.args[0], *args, ir.FloatType()))

    return types.float32(memory, types.intp), codegen


@intrinsic
def put(typingctx, memory, index, value):
    """Writes one float32."""

    def codegen(context, builder, signature, args):
        memory, index, value = args
        pointer = _pointer(context, builder, signature.args[0], memory, index, ir.FloatType())
        builder.store(value, pointer)
        return context.get_dummy_value()

    return types.void(memory, types.intp, types.float32), codegen


def _int32(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), value)


def _constant(value: float, like: ir.VectorType) -> ir.Constant:
    return ir.Constant(like, [value] * like.count)


@intrinsic
def splat(typingctx, value):
    """The same float32 in every lane."""

    def codegen(context, builder, signature, args):
        floats = _all.floats
        first = builder.insert_element(ir.Constant(floats, ir.Undefined), args[0], _int32(0))
        return _shuffle(builder, first, first, [0] * LANES)

    return _all(types.float32), codegen


@njit(forceinline=True)
def broadcast(memory, index):
    """One float32 of the memory in every lane."""
    return splat(get(memory, index))


def _shuffle(builder, low, high, places: list[int]):
    """The lanes at these places of two vectors, one behind the other."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
    return builder.shuffle_vector(low, high, mask)


def _fold(builder, vector, count: int):
    while vector.type.count > count:
        half = vector.type.count // 2
        low, high = (
            _shuffle(builder, vector, vector, list(range(first, first + half)))
            for first in (0, half)
        )
        vector = builder.fadd(low, high)
    return vector


@intrinsic
def fold(typingctx, value):
    """The sum of the lanes in ``FEW`` parts."""

    def codegen(context, builder, signature, args):
        return _fold(builder, args[0], FEW)

    return _few(value), codegen


@intrinsic
def total(typingctx, value):
    """The sum of the lanes, in a fixed order."""

    def codegen(context, builder, signature, args):
        return builder.extract_element(_fold(builder, args[0], 1), _int32(0))

    return types.float32(value), codegen


@intrinsic
def totals_of_four(typingctx, a, b, c, d):
    """The sums of the lanes of four vectors, in a fixed order."""

    def codegen(context, builder, signature, args):
        # Within every four lanes, which no register is narrower than.
        count = args[0].type.count
        pairs = [(0, count, 1, count + 1), (2, count + 2, 3, count + 3)]
        ab, cd = (_add_shuffled(builder, *two, pairs) for two in (args[:2], args[2:]))
        halves = [(0, 1, count, count + 1), (2, 3, count + 2, count + 3)]
        return _fold(builder, _add_shuffled(builder, ab, cd, halves), 4)

    return _four(a, b, c, d), codegen


def _add_shuffled(builder, low, high, patterns: list[tuple[int, ...]]):
    """The sum of two shuffles, whose patterns are repeated for every four lanes."""
    starts = range(0, low.type.count, 4)
    first, second = (
        _shuffle(builder, low, high, [start + place for start in starts for place in pattern])
        for pattern in patterns
    )
    return builder.fadd(first, second)


def _binary(emit):
    @intrinsic
    def operation(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return emit(builder, *args)

        return a(a, b), codegen

    return operation


_OPERATORS = {
    operator.add: _binary(lambda builder, a, b: builder.fadd(a, b, flags=['contract'])),
    operator.sub: _binary(lambda builder, a, b: builder.fsub(a, b, flags=['contract'])),
    operator.mul: _binary(lambda builder, a, b: builder.fmul(a, b, flags=['contract'])),
    operator.truediv: _binary(lambda builder, a, b: builder.fdiv(a, b)),
}


def _overload_operator(symbol, operation) -> None:
    @overload(symbol)
    def implementation(a, b):
        if isinstance(a, _Lanes) and a == b:
            return lambda a, b: operation(a, b)
        return None


for _symbol, _operation in _OPERATORS.items():
    _overload_operator(_symbol, _operation)


def _exp2(builder, x, is_negative: bool):
    """2 ** x; x is clamped to [-127, 128], which give exactly 0 and infinity."""

    def fma(a, b, c):
        return builder.fadd(builder.fmul(a, b, flags=['contract']), c, flags=['contract'])

    floats = x.type
    ints = ir.VectorType(ir.IntType(32), floats.count)
    # Written so that a NaN fails the comparison and stays.
    low, high = _constant(-127.0, floats), _constant(128.0, floats)
    x = builder.select(builder.fcmp_ordered('<', x, low), low, x)
    if not is_negative:
        x = builder.select(builder.fcmp_ordered('>', x, high), high, x)
    # Adding 1.5 * 2**23 leaves the nearest integer in the lowest bits.
    shift = _constant(12582912.0, floats)
    shifted = builder.fadd(x, shift)
    fraction = builder.fsub(x, builder.fsub(shifted, shift))
    # Minimax in relative error on [-0.5, 0.5] with value 1 at 0: 9.2e-8.
    series = _constant(0.001326472731307149, floats)
    for coefficient in (
        0.009671512991189957,
        0.05550733581185341,
        0.24022242426872253,
        0.6931470036506653,
        1.0,
    ):
        series = fma(series, fraction, _constant(coefficient, floats))
    exponent = builder.shl(builder.bitcast(shifted, ints), _constant(23, ints))
    return builder.bitcast(builder.add(builder.bitcast(series, ints), exponent), floats)


@intrinsic
def exp2(typingctx, x):
    """2 ** x in each lane."""

    def codegen(context, builder, signature, args):
        return _exp2(builder, args[0], is_negative=False)

    return x(x), codegen


@intrinsic
def _exp_of_minus_abs(typingctx, x):
    def codegen(context, builder, signature, args):
        (value,) = args
        ints = ir.VectorType(ir.IntType(32), value.type.count)
        with_sign = builder.or_(builder.bitcast(value, ints), _constant(-(2**31), ints))
        scale = _constant(1.4426950408889634, value.type)
        minus_abs = builder.bitcast(with_sign, value.type)
        return _exp2(builder, builder.fmul(minus_abs, scale), is_negative=True)

    return x(x), codegen


@intrinsic
def _where_negative(typingctx, x, yes, no):
    def codegen(context, builder, signature, args):
        value, yes, no = args
        return builder.select(builder.fcmp_ordered('<', value, _constant(0.0, value.type)), yes, no)

    return x(x, yes, no), codegen


@njit(forceinline=True)
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + v), v = exp(-|x|)."""
    v = _exp_of_minus_abs(x)
    # Minimax of log(1 + v) / v in relative error on [0, 1] with value 1 at 0: 3.3e-8. A quotient in
    # its place takes fewer products, but a division as long as ten of them.
    series = splat(float32(0.005364818964153528))
    series = series * v + splat(float32(-0.03006577305495739))
    series = series * v + splat(float32(0.0792045071721077))
    series = series * v + splat(float32(-0.13753800094127655))
    series = series * v + splat(float32(0.191536545753479))
    series = series * v + splat(float32(-0.24857163429260254))
    series = series * v + splat(float32(0.3332132399082184))
    series = series * v + splat(float32(-0.49999648332595825))
    series = series * v + splat(float32(1.0))
    return _where_negative(x, splat(float32(0.0)), x) + v * series


@njit(forceinline=True)
def sigmoid(x):
    """1 / (1 + exp(-x)), the derivative of softplus."""
    v = _exp_of_minus_abs(x)
    one = splat(float32(1.0))
    return _where_negative(x, v, one) / (one + v)
