"""The memory of a training step, forecast by a step on tensors without data."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import EMAHook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

from mmvmamba.engine.strategies.fsdp import shard_units
from mmvmamba.fake_gpu import put_weights_without_data

from .allocation import AllocationCount
from .blank_batches import blank_batch, draw_proposals, training_shape
from .classifiers import quiet_log

__all__ = ['KINDS', 'STRATEGIES', 'MemoryForecast', 'TrainingStep', 'forecast_memory']

STRATEGIES = ('ddp', 'fsdp', 'fsdp_checkpointing')
# Kinds of memory, in the order in which they are listed.
WEIGHTS, GRADIENTS, OPTIMIZER, BATCH, ACTIVATIONS = KINDS = (
    'parameters and buffers',
    'gradients',
    'optimizer',
    'batch',
    'activations',
)


@dataclass(frozen=True)
class MemoryForecast:
    """The memory that one process of a training needs, in bytes.

    Args:
        parameters: Number of parameters of the model.
        batch_size: Images of the process.
        shape: Their height and width.
        strategy: How the model is spread over ``gpus`` processes.
        gpus: Number of processes.
        largest: The most bytes of each kind, whenever that is in a step.
        at_peak: The bytes of each kind when their sum is largest.
    """

    parameters: int
    batch_size: int
    shape: tuple[int, int]
    strategy: str
    gpus: int
    largest: dict[str, int]
    at_peak: dict[str, int]

    @property
    def peak(self) -> int:
        """The most bytes at a time."""
        return sum(self.at_peak.values())


def forecast_memory(
    cfg: Config,
    batch_size: int | None = None,
    amp: bool = False,
    strategy: str | None = None,
    gpus: int = 1,
    shape: tuple[int, int] | None = None,
) -> MemoryForecast:
    """Forecasts the memory of a training on one of its devices.

    The model is built, then takes training steps on tensors without data, whose storages are
    counted. The losses are the config's; regions of a detector are as many, and as many of them
    positive, as its samplers allow.

    Args:
        cfg: The whole config of a training.
        batch_size: Images of a process; default: the config's.
        amp: Whether the forward pass runs in half precision, by the rules of the CPU.
        strategy: Out of ``STRATEGIES``; default: the config's, or 'ddp'.
        gpus: Number of processes.
        shape: Height and width of images; default: the largest of the training data.

    Raises:
        ValueError: There is no such strategy, the model does not take such images, or its losses
            choose by values, which nobody knows beforehand.
    """
    strategy = strategy or _strategy_of(cfg)
    if strategy not in STRATEGIES:
        raise ValueError(f'strategy must be one of {STRATEGIES}, got {strategy!r}')
    batch_size = batch_size or cfg.train_dataloader.batch_size
    shape = shape or training_shape(cfg)
    with quiet_log():
        step = TrainingStep(cfg, batch_size, shape, amp, FakeTensorMode(allow_non_fake_inputs=True))
    if strategy == 'fsdp_checkpointing':
        step.recompute()
    sharded = gpus if strategy.startswith('fsdp') else 1
    count = AllocationCount(
        ACTIVATIONS, dict.fromkeys((WEIGHTS, GRADIENTS, OPTIMIZER), 1 / sharded)
    )
    try:
        step.run_counted(count)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ValueError(
            f'the memory of {cfg.model.type} cannot be forecast: its losses choose by values that '
            f'only a real step has ({error.func})'
        ) from error
    except (ValueError, AssertionError, RuntimeError) as error:
        height, width = shape
        raise ValueError(
            f'the model takes no training step of {batch_size} images of {height} x {width}: '
            f'{error}'
        ) from error
    largest, at_peak = (
        {kind: round(sizes[kind] * count.shares.get(kind, 1)) for kind in KINDS}
        for sizes in (count.largest, count.peak)
    )
    for name, size in _beside(cfg, step.model, strategy, gpus).items():
        largest[name] = at_peak[name] = size
    parameters = sum(parameter.numel() for parameter in step.model.parameters())
    return MemoryForecast(parameters, batch_size, shape, strategy, gpus, largest, at_peak)


def _strategy_of(cfg: Config) -> str:
    strategy = cfg.get('strategy') or {}
    if 'FSDP' not in str(strategy.get('type')):
        return 'ddp'
    return 'fsdp_checkpointing' if strategy.get('activation_checkpointing') else 'fsdp'


def _beside(cfg: Config, model: nn.Module, strategy: str, gpus: int) -> dict[str, int]:
    """What a process holds beside a step by itself."""
    sizes = {}
    weights = _bytes([*model.parameters(), *model.buffers()])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        kinds = [HOOKS.get(hook['type']) for hook in cfg.get('custom_hooks') or ()]
    averages = sum(isinstance(kind, type) and issubclass(kind, EMAHook) for kind in kinds)
    if averages:
        sizes['averages of weights'] = averages * weights
    if gpus > 1 and strategy == 'ddp':
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        sizes['gradients on their way'] = _bytes(trained)
    elif gpus > 1:
        units = [_bytes(unit.parameters()) for unit in shard_units(model)]
        outside = _bytes(model.parameters()) - sum(units)
        sizes['gathered parameters'] = outside + 2 * max(units, default=0)
        sizes['gradients on their way'] = outside + 2 * max(units, default=0)
    return sizes


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _KnownMasks(TorchDispatchMode):
    """Lets a mask that has data choose from tensors that have none."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        if func is torch.ops.aten.index.Tensor:
            args = args[0], [place for index in args[1] for place in _places(index)]
        return func(*args, **(kwargs or {}))


def _places(index: Tensor | None) -> tuple[Tensor | None, ...]:
    if index is None or index.dtype != torch.bool or isinstance(index, FakeTensor):
        return (index,)
    return index.nonzero(as_tuple=True)


class TrainingStep:
    """A model, its optimizer and a blank batch, ready for steps as a training takes them.

    Args:
        cfg: The whole config of a training.
        batch_size: Number of images.
        shape: Their height and width.
        amp: Whether the forward pass runs in half precision.
        mode: Makes the tensors that have no data; None for steps with data.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        shape: tuple[int, int],
        amp: bool = False,
        mode: FakeTensorMode | None = None,
    ) -> None:
        self.amp = amp
        self.model = _build(cfg)
        make: Callable[..., Tensor] = torch.zeros
        if mode is not None:
            with mode:
                put_weights_without_data(self.model, 'cpu')

            def make(*args: Any, **settings: Any) -> Tensor:
                with mode:
                    return torch.empty(*args, **settings)

        self.batch = blank_batch(cfg, batch_size, shape, make)
        if mode is not None:
            draw_proposals(self.model, self.batch['data_samples'])
        wrapper = cfg.optim_wrapper
        self.accumulates = wrapper.get('accumulative_counts', 1) > 1
        kept = {key: wrapper[key] for key in ('optimizer', 'paramwise_cfg') if key in wrapper}
        if 'constructor' in wrapper:
            kept['constructor'] = wrapper.constructor
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            built: Any = build_optim_wrapper(self.model, ConfigDict(type='OptimWrapper', **kept))
        self.optimizer = built.optimizer

    def recompute(self) -> None:
        """Has blocks compute their activations again in the backward pass."""
        module: Any
        for module in self.model.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = True

    def run(self, update: bool = True) -> None:
        """Takes a step.

        Args:
            update: Whether the weights follow; gradients are kept for the next step otherwise.
        """
        model: Any = self.model
        with torch.autocast('cpu', torch.bfloat16) if self.amp else nullcontext():
            losses = model(**model.data_preprocessor(self.batch, True), mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
        if update:
            self.optimizer.step()
            self.optimizer.zero_grad()

    def run_counted(self, count: AllocationCount) -> None:
        """Takes steps until all is there that a training holds, and counts the last of them."""
        count.add([*self.model.parameters(), *self.model.buffers()], WEIGHTS)
        count.add(_tensors_of(self.batch), BATCH)
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(
                    lambda parameter: count.add([parameter.grad], GRADIENTS)
                )
        with count, _KnownMasks():
            self.run()
            for state in self.optimizer.state.values():
                count.add((x for x in state.values() if isinstance(x, Tensor)), OPTIMIZER)
            count.begin_anew()
            if self.accumulates:
                self.run(update=False)
            self.run()


def _build(cfg: Config) -> nn.Module:
    settings = dict(cfg.model)
    # As the runner hands it over.
    if cfg.get('data_preprocessor') is not None:
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return revert_sync_batchnorm(MODELS.build(settings)).train()


def _tensors_of(batch: dict[str, Any]) -> list[Tensor]:
    inputs = batch['inputs']
    return [inputs] if isinstance(inputs, Tensor) else list(inputs)
