"""A share of the optimizer's states, and of gradients, on each process, by DeepSpeed."""

from importlib.util import find_spec
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper, OptimWrapper
from torch import Tensor, nn

from mmvmamba.registry import STRATEGIES

from .ddp import DDPStrategy

__all__ = ['DeepSpeedStrategy', 'ZeroOptimWrapper']

STAGES = (1, 2)


class ZeroOptimWrapper(OptimWrapper):
    """Takes steps through DeepSpeed's engine; its state is that of the whole optimizer.

    Args:
        optimizer: The optimizer, before DeepSpeed has it.
        model: The model.
        stage: Stage of ZeRO.
        max_norm: Gradients of a larger norm are scaled to it; 0 leaves them.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, stage: int, max_norm: float
    ) -> None:
        import deepspeed

        if get_device() == 'cpu':
            # It would be compiled as the run starts, for minutes, and for ever if another run was
            # killed while it did so; gloo does the same.
            deepspeed.ops.__compatible_ops__['deepspeed_shm_comm'] = False
        self._parameters: list[nn.Parameter] = []
        self._indices: list[list[int]] = []
        for group in optimizer.param_groups:
            begin = len(self._parameters)
            self._parameters += group['params']
            self._indices.append(list(range(begin, len(self._parameters))))
        self._engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            dist_init_required=False,
            config=dict(
                train_micro_batch_size_per_gpu=1,
                zero_optimization=dict(stage=stage),
                zero_allow_untested_optimizer=True,
                zero_force_ds_cpu_optimizer=False,
                gradient_clipping=max_norm,
            ),
        )
        super().__init__(optimizer)

    @property
    def group_sizes(self) -> list[int]:
        """Parameters of each group; DeepSpeed has made one of them all."""
        return [len(indices) for indices in self._indices]

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Sends gradients to the processes that keep them."""
        self._engine.backward(loss)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        """Has each process move its share of the weights, and exchanges them."""
        self._engine.step()

    def zero_grad(self, **kwargs) -> None:
        """Nothing: a step of the engine has done it."""

    def state_dict(self) -> dict:
        """The state of the whole optimizer, for which all processes must call this."""
        from deepspeed.utils import safe_get_full_optimizer_state

        # Before the first step there is none.
        flat: dict[str, Any] = next(iter(self.optimizer.state.values()), {})
        moments = [key for key in flat if key != 'step']
        state = {}
        for index, parameter in enumerate(self._parameters if flat else ()):
            state[index] = {k: safe_get_full_optimizer_state(parameter, k).cpu() for k in moments}
            if 'step' in flat:
                state[index]['step'] = flat['step'].clone()
        groups = [
            {**{k: v for k, v in group.items() if k != 'params'}, 'params': indices}
            for group, indices in zip(self.optimizer.param_groups, self._indices, strict=True)
        ]
        settings = dict(base_param_settings=self.base_param_settings)
        return dict(state=state, param_groups=groups, **settings)

    def load_state_dict(self, state_dict: dict) -> None:
        """Takes up the state of a whole optimizer, each process its share."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self._make_states(next(iter(state_dict['state'].values()), {}))
        for index, state in state_dict['state'].items():
            parameter = self._parameters[index]
            for name in state.keys() - {'step'}:
                value = state[name].to(parameter.device)
                safe_set_full_optimizer_state(parameter, value, name)
        for group, loaded in zip(
            self.optimizer.param_groups, state_dict['param_groups'], strict=True
        ):
            group.update({key: value for key, value in loaded.items() if key != 'params'})

    def _make_states(self, example: dict) -> None:
        """Makes what DeepSpeed makes in its first step, to be filled."""
        if not example:
            return
        for group in self.optimizer.param_groups:
            (flat,) = group['params']
            self.optimizer.state[flat] = {
                name: value.clone() if name == 'step' else torch.zeros_like(flat)
                for name, value in example.items()
            }
        shares = self._engine.optimizer
        shares._hp_optimizer_states_linked = False
        shares._lazy_init_hp_params_optimizer_state()

    def take_weights(self) -> None:
        """Lets the shares that steps are taken on follow weights that were loaded."""
        self._engine.optimizer.refresh_fp32_params()


@STRATEGIES.register_module()
class DeepSpeedStrategy(DDPStrategy):
    """ZeRO of DeepSpeed, stages 1 and 2: weights are whole, optimizer states in shares.

    Checkpoints are those of one process. DeepSpeed takes the steps: of an optimizer wrapper, the
    optimizer, the settings of parameters and ``clip_grad`` count. mmengine's own strategy writes
    folders for one number of processes, and does not load others.

    Args:
        stage: 1 shares states of the optimizer; 2 gradients as well.
        **kwargs: What `DDPStrategy` takes.

    Raises:
        ValueError: DeepSpeed is missing, or the stage is another.
    """

    def __init__(self, stage: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)
        if stage not in STAGES:
            raise ValueError(
                f'stage must be one of {STAGES}, got {stage}; to share weights, take FSDPStrategy'
            )
        if find_spec('deepspeed') is None:
            raise ValueError('DeepSpeedStrategy needs deepspeed: pip install deepspeed')
        self.stage = stage
        self._collected: dict | None = None

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not self.distributed:
            return super()._wrap_model(model)
        return self.convert_model(model.to(get_device()))

    def build_optim_wrapper(
        self, optim_wrapper: OptimWrapper | dict, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        """Builds the optimizer as mmengine does, and hands it to DeepSpeed."""
        if not self.distributed:
            return super().build_optim_wrapper(optim_wrapper, model)
        assert model is not None and isinstance(optim_wrapper, dict)
        names = ('optimizer', 'paramwise_cfg', 'constructor')
        settings: Any = {name: optim_wrapper[name] for name in names if name in optim_wrapper}
        built = super().build_optim_wrapper(dict(settings, type='OptimWrapper'), model)
        max_norm = (optim_wrapper.get('clip_grad') or {}).get('max_norm', 0.0)
        wrapper = ZeroOptimWrapper(built.optimizer, model, self.stage, max_norm)
        wrapper.base_param_settings = built.base_param_settings
        return wrapper

    def collect(self, save_optimizer: bool) -> None:
        """Puts the whole state of the optimizer together, for which all processes call this."""
        self._collected = super().optim_state_dict() if save_optimizer else None

    def optim_state_dict(self) -> dict:
        """What `collect` found."""
        assert self._collected is not None
        return self._collected

    def load_model_state_dict(self, state_dict: dict, **kwargs) -> None:
        """Loads as mmengine does; arguments likewise."""
        super().load_model_state_dict(state_dict, **kwargs)
        if isinstance(getattr(self, 'optim_wrapper', None), ZeroOptimWrapper):
            self.optim_wrapper.take_weights()
