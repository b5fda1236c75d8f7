"""Linear layers and convolutions whose weights lie as oneDNN reads them: for inference on a CPU.

torch lays a weight out anew at each call, these do so once. Their weights cannot be read, trained,
saved or moved to another device.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['PackedConv2d', 'PackedLinear', 'can_pack', 'packed', 'refuse_training']

ACTIVATIONS = {None: ('none', None), 'gelu': ('gelu', 'none'), 'silu': ('swish', None)}
"""What oneDNN calls an activation, and the way it computes it."""
# Pixels; on larger maps laying out the weight takes a tenth of the time or less.
LARGE_MAP = 48 * 48
# Weights of a convolution that are kept.
KEPT_SIZES = 8


def can_pack(module: nn.Module) -> bool:
    """Whether ``packed`` takes a module: a plain layer in float32 on a CPU with oneDNN."""
    if type(module) is nn.Conv2d:
        plain = module.padding_mode == 'zeros' and not isinstance(module.padding, str)
    else:
        plain = type(module) is nn.Linear
    if not plain or not torch.backends.mkldnn.is_available():
        return False
    weight: Any = module.weight
    return weight.device.type == 'cpu' and weight.dtype == torch.float32 and weight.numel() > 0


def packed(layer: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The packed form of a layer that ``can_pack``; its weights and products are of ``dtype``."""
    if isinstance(layer, nn.Linear):
        return PackedLinear(layer, dtype)
    return PackedConv2d(cast(nn.Conv2d, layer), dtype)


def refuse_training() -> None:
    """Says that what was made ready for inference does not go into training mode."""
    raise ValueError(
        'a model made ready for inference cannot be trained: train the one it was made from'
    )


class _Packed(nn.Module):
    """What both kinds share. ``weight`` and ``bias`` of the plain layer have shapes alone."""

    def _keep(self, layer: Any, dtype: torch.dtype) -> Tensor:
        self.eval().requires_grad_(False)
        self.dtype = dtype
        self.packed_bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        weight: Tensor = layer.weight.detach().to(dtype)
        return weight

    def train(self, mode: bool = True) -> '_Packed':
        if mode:
            refuse_training()
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> '_Packed':
        before = torch.empty(0)
        after = fn(before)
        if (after.device, after.dtype) != (before.device, before.dtype):
            raise ValueError(
                'a model made ready for inference stays where and in what it was made: move or '
                'cast the one it was made from, then make that one ready'
            )
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        # torch cannot read packed weights back.
        raise TypeError(
            'a model made ready for inference cannot be copied or pickled: do so with the one it '
            'was made from'
        )


class PackedLinear(_Packed, nn.Linear):
    """A linear layer with a packed weight.

    Args:
        linear: The plain one.
        dtype: Of the weight and of what it is multiplied with; the result has that of the input.
        activation: What follows it: 'gelu' (the exact one), 'silu' or None.
    """

    def __init__(
        self, linear: nn.Linear, dtype: torch.dtype = torch.float32, activation: str | None = None
    ) -> None:
        has_bias = linear.bias is not None
        nn.Linear.__init__(self, linear.in_features, linear.out_features, has_bias, device='meta')
        weight = self._keep(linear, dtype)
        self.activation, self.algorithm = ACTIVATIONS[activation]
        self.packed_weight = torch.ops.mkldnn._reorder_linear_weight(weight)

    def forward(self, x: Tensor) -> Tensor:
        if not x.numel():
            return x.new_empty(*x.shape[:-1], self.out_features)
        weights = (self.packed_weight, self.packed_bias)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), *weights, self.activation, [], self.algorithm
        )
        return y.to(x.dtype)


class PackedConv2d(_Packed, nn.Conv2d):
    """A convolution of channels-last maps, which packs its weight for each size that it sees.

    The layout that suits a size can be forty times slower at another one.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype = torch.float32) -> None:
        form: Any = dict(
            kernel_size=conv.kernel_size, stride=conv.stride, padding=conv.padding,
            dilation=conv.dilation, groups=conv.groups, bias=conv.bias is not None,
        )  # fmt: skip
        nn.Conv2d.__init__(self, conv.in_channels, conv.out_channels, device='meta', **form)
        weight = self._keep(conv, dtype)
        self.plain_weight = weight.contiguous(memory_format=torch.channels_last)
        self.geometry: Any = (self.padding, self.stride, self.dilation, self.groups)
        self.packs: dict[torch.Size, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        narrow, bias = x.to(self.dtype), self.packed_bias
        if x.dim() == 4 and 0 < x.numel() <= len(x) * self.in_channels * LARGE_MAP:
            y: Tensor = torch.ops.mkldnn._convolution_pointwise(
                *(narrow, self._packed_for(x.shape), bias, *self.geometry, 'none', [], None)
            )
            return y.to(x.dtype)
        padding, stride, dilation, groups = self.geometry
        y = F.conv2d(narrow, self.plain_weight, bias, stride, padding, dilation, groups)
        return y.to(x.dtype)

    def _packed_for(self, shape: torch.Size) -> Tensor:
        pack = self.packs.get(shape)
        if pack is None:
            pack = torch.ops.mkldnn._reorder_convolution_weight(
                self.plain_weight, *self.geometry, shape
            )
            if len(self.packs) >= KEPT_SIZES:
                self.packs.clear()
            self.packs[shape] = pack
        return pack
