"""From an exported program to an ONNX graph that is as small as it can be."""

from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

if TYPE_CHECKING:
    import onnx_ir

__all__ = ['OPSET', 'to_onnx']

OPSET = 18
# Whatever depends on weights alone is computed once, however large.
NO_LIMIT = 1 << 62


def to_onnx(program: ExportedProgram, outputs: list[str]) -> 'onnx_ir.Model':
    """Converts a program with one input, ``images``.

    Args:
        program: Of plain operators.
        outputs: Names of its outputs.
    """
    from onnxscript import opset18, optimizer

    def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
        # ONNX's own is exact for large values, too: nothing has to be chosen by a threshold.
        return opset18.Softplus(x)

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
    return model
