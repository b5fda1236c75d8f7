"""Parameters and operations of a model, counted without running it on data."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from .bare_models import ImagePass, bare_config, build_bare, default_shape

__all__ = ['Count', 'count_config', 'count_model', 'count_operations']

# What an operator's name says it is; the rest is a product of matrices.
KINDS = {
    'convolution': 'convolutions',
    'selective_scan': 'selective scans',
    'gated_scan': 'selective scans',
    'ms_deform_attn': 'deformable attention',
    'bmm': 'batched products',
    'baddbmm': 'batched products',
}
PRODUCTS = 'products with weights'
# Operators that only make or move data, which neither torch's tags nor `is_view` say of them.
MOVES = [
    'prim.device',
    'aten._to_copy',
    'aten._unsafe_view',
    'aten.arange',
    'aten.as_strided_',
    'aten.cat',
    'aten.copy',
    'aten.copy_',
    'aten.constant_pad_nd',
    'aten.empty',
    'aten.flip',
    'aten.full',
    'aten.index',
    'aten.new_empty',
    'aten.new_ones',
    'aten.new_zeros',
    'aten.promote_types',
    'aten.scalar_tensor',
    'aten.stack',
    'aten.zeros',
    'aten.zeros_like',
]
# One multiply-add of these is two operations; of the others, papers count each operation.
MULTIPLY_ADDS = ('convolutions', PRODUCTS, 'batched products')


@dataclass(frozen=True)
class Count:
    """What a model has and does for one image.

    Args:
        parameters: Their number.
        shape: Height and width of the image.
        operations: Additions and multiplications by kind.
        modules: Operations by the name of a module, its own parts included; '' is the whole.
        uncounted: Calls by name of operators that have no formula and are not element by element:
            norms, softmax, pooling, copies, sampling of regions.
    """

    parameters: int
    shape: tuple[int, int]
    operations: dict[str, int]
    modules: dict[str, int]
    uncounted: dict[str, int]

    @property
    def flops(self) -> int:
        """Each multiplication and each addition is one."""
        return sum(self.operations.values())

    @property
    def macs(self) -> int:
        """What papers call FLOPs or MACs.

        A multiply-add of a convolution or a product is one; scans and samples, which have no
        multiply-adds, count by their operations.
        """
        return sum(n // 2 if k in MULTIPLY_ADDS else n for k, n in self.operations.items())


def count_model(model: str, shape: tuple[int, int] | None = None) -> Count:
    """Counts a model by name or config file.

    Args:
        model: A name that ``get_model`` takes, or a config file.
        shape: Height and width of the image; None for a classifier's own size, 800 x 1280 for a
            detector and 512 x 2048 for a segmentor.

    Raises:
        ValueError: There is no such model, or it does not take such an image.
    """
    return count_config(bare_config(model), shape)


def count_config(config: Config, shape: tuple[int, int] | None = None) -> Count:
    """Counts the model of a config; see ``count_model``."""
    shape = shape or default_shape(config)
    return count_operations(build_bare(config, 'meta'), shape)


def count_operations(model: nn.Module, shape: tuple[int, int]) -> Count:
    """Counts a classifier, detector or segmentor that is on the device 'meta'.

    Of a two-stage detector: backbone, neck, proposals, then the heads for 1000 boxes and 100
    masks. Of a segmentor: without the auxiliary head, which only training uses.

    Args:
        model: The model.
        shape: Height and width of the image.

    Raises:
        ValueError: The model does not take such an image.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    channels = getattr(model, 'in_channels', 3)
    uncounted = _Uncounted()
    counter = FlopCounterMode(display=False)
    images = torch.empty(1, channels, *shape, device='meta')
    try:
        # Attention is counted by its two products, whatever would compute it.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter, uncounted:
            ImagePass(model)(images)
    except (ValueError, AssertionError, RuntimeError) as error:
        height, width = shape
        raise ValueError(f'the model takes no image of {height} x {width}: {error}') from error
    counts = counter.get_flop_counts()
    return Count(
        parameters=parameters,
        shape=shape,
        operations=_by_kind(counts['Global']),
        modules=_by_module(counts, model),
        uncounted=dict(uncounted.calls.most_common()),
    )


class _Uncounted(TorchDispatchMode):
    """Notes which operators the counter knows no formula of."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        cheap = operator.is_view or torch.Tag.pointwise in operator.tags
        name = str(operator._overloadpacket)
        if operator._overloadpacket not in flop_registry and not cheap and name not in MOVES:
            self.calls[name.removeprefix('aten.')] += 1
        return operator(*args, **(kwargs or {}))


def _by_kind(counts: dict[Any, int]) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    for operator, number in counts.items():
        kinds[KINDS.get(str(operator).split('.')[-1], PRODUCTS)] += number
    return {kind: number for kind, number in kinds.most_common() if number}


def _by_module(counts: dict[str, dict[Any, int]], model: nn.Module) -> dict[str, int]:
    """Sums by name, in the order in which the model lists its modules."""
    sums = {name: sum(operators.values()) for name, operators in counts.items()}
    modules = dict(model.named_modules())
    found: dict[str, int] = {}
    for name in reversed(modules):
        # Lists of modules are not called; they are the sum of what is in them.
        parts = sum(found[f'{name}.{child}'] for child, _ in modules[name].named_children() if name)
        found[name] = sums.get(f'ImagePass.model.{name}', parts)
    return {**{name: found[name] for name in modules}, '': sums['Global']}
