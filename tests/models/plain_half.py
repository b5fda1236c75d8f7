"""What bfloat16 costs a whole model in plain PyTorch, to judge what it costs ours."""

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

__all__ = ['PlainHalf', 'assert_maps_close']

PRODUCTS = {
    F.linear, F.conv1d, F.conv2d, torch.einsum, torch.matmul, torch.Tensor.matmul,
    torch.Tensor.__matmul__, torch.bmm, F.scaled_dot_product_attention,
}  # fmt: skip


class PlainHalf(TorchFunctionMode):
    """Sums products of rounded operands in float32 and rounds the result; all else is float32."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function not in PRODUCTS:
            return function(*args, **(kwargs or {}))
        rounded = {name: _round(x) for name, x in (kwargs or {}).items()}
        return _round(function(*_round(args), **rounded))


def assert_maps_close(got, plain, want, name):
    """Fails where a map errs more than twice as much, in the mean square, as plain PyTorch's."""
    for level, (half, of_plain, exact) in enumerate(zip(got, plain, want, strict=True)):
        error, allowed = ((x.detach().float() - exact).norm().item() for x in (half, of_plain))
        assert error <= 2 * allowed, f'{name} {level}: {error:.3g}, plain PyTorch {allowed:.3g}'


def _round(x):
    if isinstance(x, tuple | list):
        return type(x)(_round(item) for item in x)
    is_float32 = isinstance(x, torch.Tensor) and x.dtype == torch.float32
    return x.bfloat16().float() if is_float32 else x
