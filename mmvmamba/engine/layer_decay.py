"""Learning rates that fall from the last layer of a backbone to its first.

A parameter's rate is ``lr * layer_decay_rate ** (top - depth)``: the stem has depth 0, the blocks
follow in the order in which an image passes them, and the rest of the model (final norms, adapters,
necks, heads) is the top.
"""

import re
from collections.abc import Callable

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmvmamba.registry import OPTIM_WRAPPER_CONSTRUCTORS

__all__ = ['FAMILY_RULES', 'LayerDecayOptimWrapperConstructor', 'parameter_depths']

# Where a parameter is met: () for the stem, then by stage and block; None for what is not decayed.
Place = tuple[int, ...] | None
STEM: Place = ()


def _columnar(name: str) -> Place:
    """Blocks of one width, one after the other."""
    if name.startswith(('pos_embed', 'cls_token', 'mask_token', 'patch_embed.')):
        return STEM
    block = re.match(r'(?:layers|blocks)\.(\d+)\.', name)
    return (int(block[1]),) if block else None


def _mambavision(name: str) -> Place:
    """``levels.i.blocks.j``; a level's down-sampling belongs to the block that follows it."""
    if name.startswith('patch_embed.'):
        return STEM
    if block := re.match(r'levels\.(\d+)\.blocks\.(\d+)\.', name):
        return int(block[1]), int(block[2])
    down = re.match(r'levels\.(\d+)\.downsample\.', name)
    return (int(down[1]) + 1, 0) if down else None


def _mambaout(name: str) -> Place:
    """``stages.i.j``; ``downsample_layers.i`` stands before stage i and the first is the stem."""
    if name.startswith('downsample_layers.0.'):
        return STEM
    if down := re.match(r'downsample_layers\.(\d+)\.', name):
        return int(down[1]), 0
    block = re.match(r'stages\.(\d+)\.(\d+)\.', name)
    return (int(block[1]), int(block[2])) if block else None


# By the class of the backbone; classes that derive from one of these follow its rule.
FAMILY_RULES: dict[str, Callable[[str], Place]] = {
    'PlainMamba': _columnar,
    'VisionMamba': _columnar,
    'VisionTransformerCausal': _columnar,
    'MambaVision': _mambavision,
    'MambaOut': _mambaout,
}


def parameter_depths(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Find how deep each parameter of a backbone lies.

    Args:
        backbone: a module of a family in ``FAMILY_RULES``.

    Returns:
        Depths by parameter name, and the depth of everything behind the last block.

    Raises:
        ValueError: if no rule is known for the class.
    """
    known = [cls.__name__ for cls in type(backbone).__mro__ if cls.__name__ in FAMILY_RULES]
    if not known:
        raise ValueError(
            f'layer-wise decay knows the backbones {list(FAMILY_RULES)} and what derives from '
            f'them, got {type(backbone).__name__}'
        )
    rule = FAMILY_RULES[known[0]]
    places = {name: rule(name) for name, _ in backbone.named_parameters()}
    order = sorted({STEM, *(place for place in places.values() if place is not None)})
    depth = {place: number for number, place in enumerate(order)}
    top = len(order)
    return {name: top if place is None else depth[place] for name, place in places.items()}, top


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Layer-wise decay of the learning rate on top of mmengine's other rules.

    ``paramwise_cfg`` takes what mmengine's constructor takes (``custom_keys``, ``norm_decay_mult``,
    ``bias_decay_mult``, ``flat_decay_mult``, ...) and:

    - ``layer_decay_rate``: factor from a layer to the one below it, in (0, 1].
    - ``decay_blocks``: False decays the stem alone, as far as if the blocks were decayed too. This
      is what Vim's published segmentation recipe does: its rule looks for ``blocks`` in a model
      that calls them ``layers``.

    Args:
        optim_wrapper_cfg: config of the optimizer wrapper, with the optimizer's.
        paramwise_cfg: see above.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        options = dict(paramwise_cfg or {})
        self.rate = options.pop('layer_decay_rate', None)
        self.decay_blocks = options.pop('decay_blocks', True)
        if self.rate is None or not 0 < self.rate <= 1:
            raise ValueError(f'paramwise_cfg needs a layer_decay_rate in (0, 1], got {self.rate}')
        # A key of its own, so that mmengine builds groups even if there are no other options.
        super().__init__(optim_wrapper_cfg, {**options, 'layer_decay_rate': self.rate})
        if self.base_lr is None:
            raise ValueError('layer-wise decay needs the lr of the optimizer')

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add the groups of a module as mmengine does and scale their learning rates.

        Args:
            params: the groups, extended.
            module: the model, or one of its modules when mmengine calls itself.
            prefix: the module's name; empty for the model.
            is_dcn_module: whether the module is part of a deformable convolution.
        """
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        if not hasattr(module, 'backbone'):
            raise ValueError(
                f'layer-wise decay needs a model with a backbone, got {type(module).__name__}'
            )
        depths, top = parameter_depths(module.backbone)
        if not self.decay_blocks:
            depths = {name: depth if depth == 0 else top for name, depth in depths.items()}
        scales = {
            parameter: self.rate ** (top - depths[name])
            for name, parameter in module.backbone.named_parameters()
        }
        for group in params:
            scale = scales.get(group['params'][0], 1.0)
            group['lr'] = group.get('lr', self.base_lr) * scale
        print_log(
            f'layer-wise decay: {top + 1} depths, learning rates from '
            f'{min(group["lr"] for group in params):.3g} to '
            f'{max(group["lr"] for group in params):.3g}',
            logger='current',
        )
