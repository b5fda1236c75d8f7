"""From an exported program to an ONNX graph that is as small as it can be."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

if TYPE_CHECKING:
    import onnx_ir

__all__ = ['OPSET', 'to_onnx']

OPSET = 18
# Whatever depends on weights alone is computed once, however large.
NO_LIMIT = 1 << 62
# Operators of one tensor whose values stay as they are, in their order.
SHAPE_CHANGES = ('Reshape', 'Squeeze', 'Unsqueeze')


def to_onnx(program: ExportedProgram, outputs: list[str]) -> 'onnx_ir.Model':
    """Converts a program with one input, ``images``.

    Args:
        program: Of plain operators.
        outputs: Names of its outputs.
    """
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass
    from onnxscript import opset18, optimizer
    from onnxscript.rewriter import rewrite

    from .graph_rules import RULES

    def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
        # onnxruntime's own takes several times as long.
        return opset18.Max(x, opset18.Log(opset18.Add(opset18.Exp(opset18.Min(x, 20.0)), 1.0)))

    with warnings.catch_warnings():
        # Of torch, about its own parts.
        warnings.simplefilter('ignore', FutureWarning)
        converted = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=['images'],
            output_names=outputs,
            optimize=False,
            verbose=False,
            custom_translation_table={torch.ops.aten.softplus.default: softplus},
        )
    assert converted is not None
    model = converted.model
    optimizer.optimize_ir(
        model, onnx_shape_inference=False, input_size_limit=NO_LIMIT, output_size_limit=NO_LIMIT
    )
    _join_reshapes(model)
    rewrite(model, RULES)
    CommonSubexpressionEliminationPass()(model)
    return model


def _join_reshapes(model: 'onnx_ir.Model') -> None:
    """Leaves out what only changes a shape before a Reshape to a fixed one, and a Reshape to the
    shape that there is already.
    """
    from onnx_ir.convenience import replace_all_uses_with
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for node in model.graph:
        shape = node.inputs[1].const_value if node.op_type == 'Reshape' else None
        # A 0 would take its size from the input.
        if shape is None or 0 in shape.numpy():
            continue
        source = node.inputs[0]
        while (before := source.producer()) and before.op_type in SHAPE_CHANGES:
            source = before.inputs[0]
        node.replace_input_with(0, source)
        result = node.outputs[0]
        if source.shape == shape.numpy().tolist() and not result.is_graph_output():
            replace_all_uses_with(result, source)
    RemoveUnusedNodesPass()(model)
