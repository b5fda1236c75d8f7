"""A share of the parameters, gradients and states of the optimizer on each process."""

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from mmengine.device import get_device
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from mmvmamba.engine.sharded import shard_like, whole
from mmvmamba.registry import STRATEGIES

from .ddp import DDPStrategy

__all__ = ['FSDPStrategy']

DTYPES = {None: None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@STRATEGIES.register_module()
class FSDPStrategy(DDPStrategy):
    """Fully sharded data parallelism by torch's ``fully_shard`` (FSDP2).

    Each block of the backbone, as the backbone itself counts them, is a unit whose parameters are
    gathered when it is called; the rest of the model is one more. Names of parameters stay, so that
    rules by name and strict loading work as ever, and a checkpoint is that of one process: the
    first process writes whole tensors. mmengine's own strategy is FSDP1, which torch gives up, runs
    on GPUs only and saves a folder of shards.

    Args:
        activation_checkpointing: Whether blocks recompute their activations in the backward pass.
        param_dtype: What parameters are gathered and computed in, such as 'bfloat16'; None for
            float32.
        **kwargs: What `DDPStrategy` takes; parameters may stay without a gradient in any case.
    """

    shards_weights = True

    def __init__(
        self,
        activation_checkpointing: bool = False,
        param_dtype: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if param_dtype not in DTYPES:
            raise ValueError(
                f"param_dtype must be None, 'bfloat16' or 'float16', got {param_dtype}"
            )
        self.activation_checkpointing = activation_checkpointing
        self.param_dtype = param_dtype
        self._collected: tuple[dict, dict | None] | None = None

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if self.activation_checkpointing:
            module: Any
            for module in model.modules():
                if hasattr(module, 'with_cp'):
                    module.with_cp = True
        if not self.distributed:
            return super()._wrap_model(model)
        device = get_device()
        model = self.convert_model(model.to(device))
        policy = MixedPrecisionPolicy(
            param_dtype=DTYPES[self.param_dtype], reduce_dtype=torch.float32
        )
        shard = partial(
            fully_shard, mesh=init_device_mesh(device, (self.world_size,)), mp_policy=policy
        )
        for unit in shard_units(model):
            shard(unit)
        shard(model)
        return model

    def collect(self, save_optimizer: bool) -> None:
        """Puts whole tensors together, for which all processes must call this."""
        self._collected = None
        model = OrderedDict((k, whole(v).cpu()) for k, v in self.model.state_dict().items())
        optimizer = None
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            optimizer = super().optim_state_dict()
            # The optimizer goes on with the dicts that it gave.
            optimizer['state'] = {
                index: {k: whole(v).cpu() if torch.is_tensor(v) else v for k, v in state.items()}
                for index, state in optimizer['state'].items()
            }
        self._collected = model, optimizer

    def model_state_dict(self) -> dict:
        """What `collect` found."""
        assert self._collected is not None
        return self._collected[0]

    def optim_state_dict(self) -> dict:
        """What `collect` found."""
        assert self._collected is not None and self._collected[1] is not None
        return self._collected[1]

    def load_model_state_dict(self, state_dict: dict, **kwargs) -> None:
        """Loads whole tensors, each process its part; arguments as mmengine's."""
        own = self.model.state_dict()
        for name, tensor in state_dict.items():
            if name in own:
                state_dict[name] = shard_like(tensor, own[name])
        super().load_model_state_dict(state_dict, **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Loads the states of a whole optimizer, each process its part."""
        parameters = [p for group in self.optim_wrapper.param_groups for p in group['params']]
        for index, state in state_dict['state'].items():
            model = parameters[index]
            for name, value in state.items():
                # A count of steps has no shape.
                if torch.is_tensor(value) and value.shape == model.shape:
                    state[name] = shard_like(value, model)
        super().load_optim_state_dict(state_dict)


def shard_units(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of the backbones in a model."""
    module: Any
    for module in model.modules():
        if hasattr(module, 'blocks_in_order'):
            yield from module.blocks_in_order()
