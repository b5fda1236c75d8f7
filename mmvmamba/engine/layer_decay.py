"""Learning rates that fall from the last layer of a backbone to its first.

A parameter's rate is ``lr * layer_decay_rate ** (top - depth)``: the stem has depth 0, the blocks
follow in the order in which an image passes them, and the rest of the model (final norms, adapters,
necks, heads) is the top.
"""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmvmamba.registry import OPTIM_WRAPPER_CONSTRUCTORS

__all__ = ['LayerDecayOptimWrapperConstructor', 'parameter_depths']


def parameter_depths(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """Asks a backbone how deep each of its parameters lies.

    Args:
        backbone: A module with ``get_layer_depth``, see ``BaseBackbone``.

    Returns:
        Depths by parameter name, and the depth of everything behind the last block.

    Raises:
        ValueError: The backbone does not know.
    """
    get_layer_depth = getattr(backbone, 'get_layer_depth', None)
    if get_layer_depth is None:
        raise ValueError(
            'layer-wise decay needs a backbone with get_layer_depth, as those of mmvmamba have, '
            f'got {type(backbone).__name__}'
        )
    answers = {name: get_layer_depth(name) for name, _ in backbone.named_parameters()}
    num_depths = max(number for _, number in answers.values())
    return {name: depth for name, (depth, _) in answers.items()}, num_depths - 1


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
        backbone = getattr(module, 'backbone', None)
        if backbone is None:
            raise ValueError(
                f'layer-wise decay needs a model with a backbone, got {type(module).__name__}'
            )
        depths, top = parameter_depths(backbone)
        if not self.decay_blocks:
            depths = {name: depth if depth == 0 else top for name, depth in depths.items()}
        scales = {
            parameter: self.rate ** (top - depths[name])
            for name, parameter in backbone.named_parameters()
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
