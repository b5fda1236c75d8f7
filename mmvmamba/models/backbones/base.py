"""What backbones share: tables of variants, freezing, norm evaluation, recomputation."""

import copy
import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmvmamba.layers.evaluation import forget_weights
from mmvmamba.ops.symbolic import is_symbolic
from mmvmamba.registry import WEIGHT_INITIALIZERS

__all__ = [
    'FITTED',
    'BaseBackbone',
    'backbone_of',
    'check_images',
    'resolve_arch',
    'resolve_out_indices',
]

Context = AbstractContextManager[None]

FITTED = 'fitted'
"""Entry of a state dict's metadata for a backbone whose part was made to fit before."""


def check_images(x: Tensor, stem: nn.Module, smallest: int = 0) -> None:
    """Refuses images of another number of channels than the first convolution takes.

    Args:
        x: The images; what stands for some in a symbolic trace has no shape to look at.
        stem: The convolution.
        smallest: Side that they must have at least.
    """
    if is_symbolic(x):
        return
    if x.dim() != 4 or x.shape[1] != stem.in_channels:
        raise ValueError(
            f'images must be (N, {stem.in_channels}, H, W), got {tuple(x.shape)}; grey and '
            'transparent ones become RGB in mmvmamba.classify, or give the model in_channels=...'
        )
    if smallest and min(x.shape[2:]) < smallest:
        raise ValueError(
            f'images must have sides of {smallest} pixels or more, got {tuple(x.shape)}'
        )


def resolve_arch(arch: str | dict, arch_zoo: dict[str, dict], optional: Sequence[str] = ()) -> dict:
    """Returns the settings of a variant: a copy of a row of the table, or of a dict like a row.

    Args:
        arch: Name of a row, or the dict.
        arch_zoo: The table.
        optional: Keys that a dict may have and no row needs.
    """
    rows = ', '.join(map(repr, arch_zoo))
    if isinstance(arch, str):
        if arch not in arch_zoo:
            near = difflib.get_close_matches(arch, arch_zoo, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            raise ValueError(f'arch must be one of {rows} or a dict, got {arch!r}{hint}')
        return copy.deepcopy(arch_zoo[arch])
    if not isinstance(arch, dict):
        raise ValueError(f'arch must be one of {rows} or a dict, got {arch!r}')
    needed = set.intersection(*(set(row) for row in arch_zoo.values()))
    allowed = set().union(*arch_zoo.values(), optional)
    if not needed <= set(arch) <= allowed:
        raise ValueError(
            f'arch as a dict needs the keys {sorted(needed)} and may have {sorted(allowed)}, '
            f'got {sorted(arch)}'
        )
    return copy.deepcopy(arch)


def resolve_out_indices(out_indices: int | Sequence[int], num_outputs: int) -> tuple[int, ...]:
    """Returns positions in ``range(num_outputs)``; negative indices count from the end."""
    indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    for index in indices:
        if not -num_outputs <= index < num_outputs:
            raise ValueError(
                f'out_indices must lie in [{-num_outputs}, {num_outputs}), got {out_indices}'
            )
    return tuple(index % num_outputs for index in indices)


def _recomputation_contexts(block: nn.Module) -> tuple[Context, Context]:
    return nullcontext(), _keep_batch_statistics(block)


@contextmanager
def _keep_batch_statistics(block: nn.Module) -> Iterator[None]:
    """Lets BatchNorm layers see a batch again without counting it again."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [[buffer.clone() for buffer in norm.buffers()] for norm in norms]
    try:
        yield
    finally:
        for norm, values in zip(norms, before, strict=True):
            for buffer, value in zip(norm.buffers(), values, strict=True):
                buffer.copy_(value)


def _split_init_cfg(init_cfg: dict | list | None) -> tuple[list[dict], list[dict]]:
    """Parts the initialisers of a module from those that load a checkpoint."""
    cfgs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or ())
    pretrained = [cfg for cfg in cfgs if cfg.get('type') in ('Pretrained', PretrainedInit)]
    return [cfg for cfg in cfgs if cfg not in pretrained], pretrained


def _keep_backbone(backbone: nn.Module, state: dict[str, Tensor]) -> None:
    """Keeps the backbone alone, in place, of what turns out to be the state dict of a model."""
    own = backbone.state_dict()
    inner = {key for key in state if key.startswith('backbone.')}
    if not inner or any(key in own for key in state):
        return
    outside = {key.split('.')[0] for key in state if key not in inner}
    found = {key.removeprefix('backbone.'): state[key] for key in inner}
    state.clear()
    state.update(found)
    print_log(
        f'{type(backbone).__name__} takes the keys under "backbone."'
        + (f'; not used: {", ".join(sorted(outside))}' if outside else ''),
        logger='current',
    )


class BaseBackbone(BaseModule):
    """Base of all backbones.

    A subclass builds its modules, sets ``stage_channels`` and ``out_indices``, says with
    ``freezable_stages`` what ``frozen_stages`` counts and with ``layer_prefixes`` in which order an
    image passes its parameters, and calls its blocks through ``run_block`` so that ``with_cp``
    applies to each.

    Attributes:
        family: Name of the key map in ``mmvmamba.checkpoint.FAMILIES`` whose weights it takes.
        head_only_keys: Patterns of keys that only classification uses; a backbone without them may
            leave them out of a file.
        task_only_keys: Patterns of keys that a file of a classifier does not have, because they are
            new in detection and segmentation.
        start_settings: Arguments that say how a training starts, which a model by name has not.
        arch_zoo: The variants; a class that is no base has it.
        stage_channels: Channels of the map of each stage (in a columnar model: block).
        out_indices: Stages whose maps are put out.

    Args:
        frozen_stages: -1 freezes nothing, 0 the stem, n > 0 the stem and the first n stages (in a
            columnar model: blocks).
        norm_eval: Whether BatchNorm layers stay in evaluation mode during training.
        with_cp: Whether blocks recompute their activations in the backward pass to save memory.
        init_cfg: Initialisation config of mmengine.
    """

    family: str | None = None
    head_only_keys: tuple[str, ...] = ()
    task_only_keys: tuple[str, ...] = ()
    start_settings: tuple[str, ...] = ('init_cfg',)
    arch_zoo: dict[str, dict]
    stage_channels: tuple[int, ...]
    out_indices: tuple[int, ...]
    init_cfg: dict | list | None

    def __init__(
        self,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that is put out."""
        return tuple(self.stage_channels[i] for i in self.out_indices)

    @property
    def num_features(self) -> int:
        """Channels of the last stage, which a classifier pools."""
        return self.stage_channels[-1]

    def init_weights(self) -> None:
        """Sets the values that training starts from; a checkpoint named by ``init_cfg`` last."""
        is_first, init_cfg = not self.is_init, self.init_cfg
        if is_first:
            self.init_own_weights()
        self.init_cfg, pretrained = _split_init_cfg(init_cfg)
        super().init_weights()
        self.init_cfg = init_cfg
        if is_first:
            for cfg in pretrained:
                # mmengine's own initialiser merely warns about keys that do not fit.
                initializer = dict(cfg, type='mmvmamba.PretrainedBackbone')
                WEIGHT_INITIALIZERS.build(initializer)(self)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict, *args
    ) -> None:
        # Called by torch's and by mmengine's loading alike.
        if not local_metadata.get(FITTED):
            if not prefix:
                _keep_backbone(self, state_dict)
            self.fit_state_dict(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def fit_state_dict(self, state: dict[str, Tensor], prefix: str = '') -> None:
        """Makes what a state dict has for this backbone fit it, in place.

        Args:
            state: The state dict of the backbone or of a model that holds it.
            prefix: What stands before the backbone's keys.
        """
        part = {key: state.pop(key) for key in list(state) if key.startswith(prefix)}
        part = {key.removeprefix(prefix): tensor for key, tensor in part.items()}
        self.fit_checkpoint(part)
        state.update({prefix + key: tensor for key, tensor in part.items()})

    def fit_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Changes, in place, what a checkpoint has for another image size or another task."""

    def init_own_weights(self) -> None:
        """Values that training starts from where they differ from those of the constructor."""

    def freezable_stages(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        """The stem's modules and parameters, then those of each stage."""
        raise NotImplementedError(f'{type(self).__name__} does not say what frozen_stages counts')

    def layer_prefixes(self) -> list[tuple[str, ...]]:
        """How parameter names start: those of the stem, then those of each block in its turn.

        What belongs to none of these (final norms, adapters) lies behind the last block.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say how its blocks follow')

    def blocks_in_order(self) -> list[nn.Module]:
        """The blocks in the order in which an image passes them; they are sharded one by one."""
        # The first name of a block is its own, others are of what goes before it.
        return [self.get_submodule(names[0].rstrip('.')) for names in self.layer_prefixes()[1:]]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Tells how deep a parameter lies; mmpretrain's layer-wise decay asks the same.

        Args:
            param_name: Its name in the backbone, or with ``prefix`` in the whole model.
            prefix: What stands before the names of the backbone's parameters.

        Returns:
            Its depth: 0 for the stem, 1 for the first block, and so on; and the number of depths,
            the last of which is that of everything behind the last block.
        """
        layers = self.layer_prefixes()
        if param_name.startswith(prefix):
            name = param_name.removeprefix(prefix)
            for depth, starts in enumerate(layers):
                if name.startswith(starts):
                    return depth, len(layers) + 1
        return len(layers), len(layers) + 1

    def feature_maps(self, images: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The vector that a classifier goes on from, and the maps of some stages.

        Neither depends on ``out_indices`` or on the norms of outputs.

        Args:
            images: ``(N, in_channels, H, W)``.
            indices: The stages (in a columnar model: blocks), 0 or greater.

        Returns:
            The pooled output of the last stage, normed if there is a final norm, ``(N, C)``; and a
            ``(N, C, h, w)`` for each of ``indices``, as the stage leaves it.
        """
        raise NotImplementedError(f'{type(self).__name__} does not give the maps of its stages')

    def run_block(self, block: nn.Module, *args: Tensor | tuple | int | None) -> Any:
        """Calls a block, keeping only its inputs for the backward pass when ``with_cp`` is set."""
        if self.with_cp and self.training:
            if any(isinstance(module, _BatchNorm) for module in block.modules()):
                contexts = partial(_recomputation_contexts, block)
                return checkpoint(block, *args, use_reentrant=False, context_fn=contexts)
            return checkpoint(block, *args, use_reentrant=False)
        return block(*args)

    def train(self, mode: bool = True) -> 'BaseBackbone':
        # Weights may have been exchanged in a way that leaves no trace, as an average of them is.
        forget_weights(self)
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'BaseBackbone':
        # Nothing stays on a device that the weights leave.
        forget_weights(self)
        super()._apply(fn, recurse)
        return self

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        stages = self.freezable_stages()
        if self.frozen_stages >= len(stages):
            raise ValueError(
                f'frozen_stages of {type(self).__name__} must lie in [-1, {len(stages) - 1}], '
                f'got {self.frozen_stages}'
            )
        for member in (member for stage in stages[: self.frozen_stages + 1] for member in stage):
            member.requires_grad_(False)
            if isinstance(member, nn.Module):
                member.eval()


def backbone_of(model: nn.Module) -> BaseBackbone:
    """The backbone of a classifier, detector or segmentor, one of ours."""
    return cast(BaseBackbone, model.backbone)
