"""Rules that join operators of an ONNX graph. Needs onnxscript."""

from typing import Any

import onnx_ir
from onnxscript.rewriter.pattern import RewriteRule

__all__ = ['RULES']


def _one_number(*values: onnx_ir.Value) -> list[int] | None:
    """The numbers that constants of one element hold."""
    arrays = [value.const_value and value.const_value.numpy() for value in values]
    if any(array is None or array.size != 1 for array in arrays):
        return None
    return [array.item() for array in arrays]


# An axis of one place is taken out, the others are moved, and one is put in: all are moved.


def _squeezed(op: Any, x: Any, taken: Any, order: Any, given: Any) -> Any:
    return op.Unsqueeze(op.Transpose(op.Squeeze(x, taken), perm=order), given)


def _is_one_axis(context: Any, taken: onnx_ir.Value, given: onnx_ir.Value, **_: Any) -> bool:
    return _one_number(taken, given) is not None


def _all_moved(op: Any, x: Any, taken: Any, order: onnx_ir.Attr, given: Any) -> Any:
    others = list(order.as_ints())
    source, target = (axis % (len(others) + 1) for axis in _one_number(taken, given) or ())
    moved = [axis + (axis >= source) for axis in others]
    moved.insert(target, source)
    return op.Transpose(x, perm=moved)


# A convolution whose ends are cut off: it gets less padding there.


def _cut(op: Any, x: Any, starts: Any, ends: Any, axes: Any, steps: Any) -> Any:
    whole = op.Conv(x, _allow_other_inputs=True, _outputs=['whole'])
    return op.Slice(whole, starts, ends, axes, steps)


def _pads_left(whole: onnx_ir.Value, *cut: onnx_ir.Value) -> list[int] | None:
    """The padding of a convolution of which only a slice is read; None if it is no less padding."""
    numbers, node = _one_number(*cut), whole.producer()
    if numbers is None or node is None or whole.shape is None:
        return None
    start, end, axis, step = numbers
    axis %= len(whole.shape)
    count, length = len(whole.shape) - 2, whole.shape[axis]
    pads = list(node.attributes.get_ints('pads', [0] * 2 * count))
    strides = node.attributes.get_ints('strides', [1] * count)
    place = axis - 2
    if place < 0 or step != 1 or strides[place] != 1 or not isinstance(length, int):
        return None
    begin, end, _ = slice(start, end).indices(length)
    pads[place] -= begin
    pads[place + count] -= length - end
    return pads if min(pads) >= 0 else None


def _fits(
    context: Any, whole: Any, starts: Any, ends: Any, axes: Any, steps: Any, **_: Any
) -> bool:
    return _pads_left(whole, starts, ends, axes, steps) is not None


def _cropped(op: Any, whole: Any, starts: Any, ends: Any, axes: Any, steps: Any, **_: Any) -> Any:
    node = whole.producer()
    attributes = {
        name: x for name, x in node.attributes.items() if name not in ('pads', 'auto_pad')
    }
    return op.Conv(*node.inputs, **attributes, pads=_pads_left(whole, starts, ends, axes, steps))


# A product with a reciprocal is a quotient.


def _product(op: Any, x: Any, y: Any) -> Any:
    return op.Mul(x, op.Reciprocal(y))


def _quotient(op: Any, x: Any, y: Any) -> Any:
    return op.Div(x, y)


RULES = (
    RewriteRule(_squeezed, _all_moved, _is_one_axis),
    RewriteRule(_cut, _cropped, _fits),
    RewriteRule(_product, _quotient),
)
