"""A vector of float32 lanes for numba kernels, so that each statement over channels is vector code.

LLVM splits the vector over the registers that the CPU has (512, 256 or 128 bits). Compared with an
inner loop that LLVM has to vectorise, nothing depends on what it can prove about aliasing.

Multiplications and additions may be contracted to fused ones; nothing else is relaxed, so that NaN
and infinity pass through. ``exp2`` and ``softplus`` are polynomials with a relative error of 2e-7.
"""

import operator

from llvmlite import ir
from numba import float32, njit, types
from numba.extending import intrinsic, models, overload, register_model

from .instruction_set import part_lanes

__all__ = [
    'LANES', 'PART', 'broadcast_part', 'exp2', 'load', 'load_part', 'sigmoid', 'softplus', 'splat',
    'splat_part', 'store', 'total',
]  # fmt: skip

# Channels that a kernel handles at once. The work per step and block is spread over them, and the
# CPU finds enough that does not wait for something else: with a vector of one register, softplus
# alone takes as long as its chain of operations.
LANES = 64
# Channels in a loop over states, where each pass is a chain of its own and all values should stay
# in registers.
PART = part_lanes()


class _Lanes(types.Type):
    """A vector of float32; no number in a kernel is of this type but in registers."""

    def __init__(self, count: int) -> None:
        super().__init__(name=f'Lanes{count}')
        self.floats = ir.VectorType(ir.FloatType(), count)
        self.ints = ir.VectorType(ir.IntType(32), count)


_whole, _part = _Lanes(LANES), _Lanes(PART)


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, fe_type.floats)


def _pointer(context, builder, array_type, array, index, floats):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), floats.as_pointer())


def _make_load(lanes: _Lanes):
    @intrinsic
    def load(typingctx, array, index):
        def codegen(context, builder, signature, args):
            pointer = _pointer(context, builder, signature.args[0], *args, lanes.floats)
            vector = builder.load(pointer)
            vector.align = 4
            return vector

        return lanes(array, types.intp), codegen

    return load


# Consecutive float32 of a one-dimensional contiguous array, from ``index`` on.
load, load_part = _make_load(_whole), _make_load(_part)


@intrinsic
def store(typingctx, array, index, value):
    """Writes the lanes to consecutive float32."""

    def codegen(context, builder, signature, args):
        array, index, vector = args
        pointer = _pointer(context, builder, signature.args[0], array, index, vector.type)
        builder.store(vector, pointer).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _int32(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), value)


def _constant(value: float, like: ir.VectorType) -> ir.Constant:
    return ir.Constant(like, [value] * like.count)


def _splat(builder, scalar, floats):
    undefined = ir.Constant(floats, ir.Undefined)
    vector = builder.insert_element(undefined, scalar, _int32(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), floats.count), [0] * floats.count)
    return builder.shuffle_vector(vector, undefined, mask)


@intrinsic
def broadcast_part(typingctx, array, index):
    """One float32 of an array in every lane; unlike in ``array[index]``, index is not negative."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _splat(builder, builder.load(builder.gep(data, [args[1]])), _part.floats)

    return _part(array, types.intp), codegen


def _make_splat(lanes: _Lanes):
    @intrinsic
    def splat(typingctx, value):
        def codegen(context, builder, signature, args):
            return _splat(builder, args[0], lanes.floats)

        return lanes(types.float32), codegen

    return splat


# The same float32 in every lane.
splat, splat_part = _make_splat(_whole), _make_splat(_part)


@intrinsic
def total(typingctx, value):
    """The sum of the lanes, in a fixed order."""

    def codegen(context, builder, signature, args):
        (vector,) = args
        width = vector.type.count
        while width > 1:
            width //= 2
            undefined = ir.Constant(vector.type, ir.Undefined)
            low, high = (
                builder.shuffle_vector(
                    vector,
                    undefined,
                    ir.Constant(
                        ir.VectorType(ir.IntType(32), width), list(range(first, first + width))
                    ),
                )
                for first in (0, width)
            )
            vector = builder.fadd(low, high)
        return builder.extract_element(vector, _int32(0))

    return types.float32(value), codegen


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


def _exp2(builder, x):
    """2 ** x; x is clamped to [-127, 128], which give exactly 0 and infinity."""

    def fma(a, b, c):
        return builder.fadd(builder.fmul(a, b, flags=['contract']), c, flags=['contract'])

    floats = x.type
    ints = ir.VectorType(ir.IntType(32), floats.count)
    # Written so that a NaN fails the comparison and stays.
    low, high = _constant(-127.0, floats), _constant(128.0, floats)
    x = builder.select(builder.fcmp_ordered('<', x, low), low, x)
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
        return _exp2(builder, args[0])

    return x(x), codegen


@intrinsic
def _exp_of_minus_abs(typingctx, x):
    def codegen(context, builder, signature, args):
        (value,) = args
        negative = builder.fcmp_ordered('<', value, _constant(0.0, value.type))
        minus_abs = builder.select(negative, value, builder.fneg(value))
        scale = _constant(1.4426950408889634, value.type)
        return _exp2(builder, builder.fmul(minus_abs, scale))

    return x(x), codegen


@intrinsic
def _where_negative(typingctx, x, yes, no):
    def codegen(context, builder, signature, args):
        value, yes, no = args
        return builder.select(builder.fcmp_ordered('<', value, _constant(0.0, value.type)), yes, no)

    return x(x, yes, no), codegen


@njit(forceinline=True)
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + 2 atanh(s), s = v / (2 + v), v = exp(-|x|)."""
    v = _exp_of_minus_abs(x)
    s = v / (v + splat(float32(2.0)))
    w = s * s
    # Minimax of (2 atanh(s) - 2 s) / s**3 for s up to 1/3: 4.5e-9.
    series = splat(float32(0.2802446782588959))
    series = series * w + splat(float32(0.27999138832092285))
    series = series * w + splat(float32(0.4002169966697693))
    series = series * w + splat(float32(0.6666641235351562))
    log = s + s + s * w * series
    return _where_negative(x, splat(float32(0.0)), x) + log


@njit(forceinline=True)
def sigmoid(x):
    """1 / (1 + exp(-x)), the derivative of softplus."""
    v = _exp_of_minus_abs(x)
    one = splat(float32(1.0))
    return _where_negative(x, v, one) / (one + v)
