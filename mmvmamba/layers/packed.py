"""Linear layers and convolutions whose weights lie as oneDNN reads them: for inference on a CPU.

torch lays a weight out anew at each call, these do so once. Their weights cannot be read, trained,
saved or moved to another device.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    'ACTIVATIONS',
    'PackedConv2d',
    'PackedHalves',
    'PackedLinear',
    'activation_of',
    'can_pack',
    'linear_of',
    'packed',
    'refuse_training',
]


class Activation(NamedTuple):
    """A function, what oneDNN calls it, and the way it computes it."""

    function: Callable[[Tensor], Tensor]
    name: str
    algorithm: str | None = None


ACTIVATIONS: dict[str | None, Activation] = {
    None: Activation(lambda x: x, 'none'),
    'relu': Activation(F.relu, 'relu'),
    'silu': Activation(F.silu, 'swish'),
    'gelu': Activation(F.gelu, 'gelu', 'none'),
    'gelu_tanh': Activation(partial(F.gelu, approximate='tanh'), 'gelu', 'tanh'),
}
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


def packed(
    layer: nn.Module, dtype: torch.dtype = torch.float32, activation: str | None = None
) -> nn.Module:
    """The packed form of a layer that ``can_pack`` and of what follows it.

    Args:
        layer: The layer.
        dtype: Of its weights and products.
        activation: Out of ``ACTIVATIONS``.
    """
    if isinstance(layer, nn.Linear):
        return PackedLinear(layer, dtype, activation)
    return PackedConv2d(cast(nn.Conv2d, layer), dtype, activation)


def linear_of(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer with these values."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device='meta')
    linear.weight = nn.Parameter(weight.detach())
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach())
    return linear


def activation_of(module: nn.Module) -> str | None:
    """The name in ``ACTIVATIONS`` of a module that is one of them, else None."""
    if type(module) is nn.GELU:
        return 'gelu' if module.approximate == 'none' else 'gelu_tanh'
    return {nn.ReLU: 'relu', nn.SiLU: 'silu'}.get(type(module))


def refuse_training() -> None:
    """Says that what was made ready for inference does not go into training mode."""
    raise ValueError(
        'a model made ready for inference cannot be trained: train the one it was made from'
    )


class _Packed(nn.Module):
    """What both kinds share. ``weight`` and ``bias`` of the plain layer have shapes alone."""

    activation: str | None

    def _keep(self, layer: Any, dtype: torch.dtype) -> Tensor:
        self.eval().requires_grad_(False)
        self.dtype = dtype
        self.packed_bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        weight: Tensor = layer.weight.detach().to(dtype)
        return weight

    def _follows(self, activation: str | None) -> Activation:
        return ACTIVATIONS[activation or self.activation]

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
        activation: What follows it, out of ``ACTIVATIONS``; a call may name another one.
    """

    def __init__(
        self, linear: nn.Linear, dtype: torch.dtype = torch.float32, activation: str | None = None
    ) -> None:
        has_bias = linear.bias is not None
        nn.Linear.__init__(self, linear.in_features, linear.out_features, has_bias, device='meta')
        weight = self._keep(linear, dtype)
        self.activation = activation
        self.packed_weight = torch.ops.mkldnn._reorder_linear_weight(weight)

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        if not x.numel():
            return x.new_empty(*x.shape[:-1], self.out_features)
        weights, follows = (self.packed_weight, self.packed_bias), self._follows(activation)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(self.dtype), *weights, follows.name, [], follows.algorithm
        )
        return y.to(x.dtype)


class PackedHalves(nn.Module):
    """A linear layer whose result comes in two halves, each of which lies by itself."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        weights = linear.weight.chunk(2)
        biases = (None, None) if linear.bias is None else linear.bias.chunk(2)
        self.first, self.second = (
            PackedLinear(linear_of(*half), dtype) for half in zip(weights, biases, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.first(x), self.second(x)


class PackedConv2d(_Packed, nn.Conv2d):
    """A convolution of channels-last maps, which packs its weight for each size that it sees.

    The layout that suits a size can be forty times slower at another one.

    Args:
        conv: The plain one.
        dtype: Of the weight and of what it is multiplied with; the result has that of the input.
        activation: What follows it, out of ``ACTIVATIONS``; a call may name another one.
    """

    def __init__(
        self, conv: nn.Conv2d, dtype: torch.dtype = torch.float32, activation: str | None = None
    ) -> None:
        form: Any = dict(
            kernel_size=conv.kernel_size, stride=conv.stride, padding=conv.padding,
            dilation=conv.dilation, groups=conv.groups, bias=conv.bias is not None,
        )  # fmt: skip
        nn.Conv2d.__init__(self, conv.in_channels, conv.out_channels, device='meta', **form)
        weight = self._keep(conv, dtype)
        self.plain_weight = weight.contiguous(memory_format=torch.channels_last)
        self.geometry: Any = (self.padding, self.stride, self.dilation, self.groups)
        self.packs: dict[torch.Size, Tensor] = {}
        self.activation = activation
        # See ``add_convolved``.
        self.adds_input = getattr(conv, 'adds_input', False)

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        narrow, bias = x.to(self.dtype), self.packed_bias
        follows = self._follows(activation)
        if x.dim() == 4 and 0 < x.numel() <= len(x) * self.in_channels * LARGE_MAP:
            y: Tensor = torch.ops.mkldnn._convolution_pointwise(
                *(narrow, self._packed_for(x.shape), bias, *self.geometry),
                *(follows.name, [], follows.algorithm),
            )
            return y.to(x.dtype)
        padding, stride, dilation, groups = self.geometry
        y = F.conv2d(narrow, self.plain_weight, bias, stride, padding, dilation, groups)
        return follows.function(y).to(x.dtype)

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
