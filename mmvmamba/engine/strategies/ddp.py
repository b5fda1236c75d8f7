"""One whole model on each process."""

from mmengine import _strategy as mmengine_strategy
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.runner import weights_to_cpu
from torch import nn

from mmvmamba.engine.data_parallel import CPUDistributedDataParallel
from mmvmamba.engine.sync_batchnorm import sync_on_cpu
from mmvmamba.registry import STRATEGIES

__all__ = ['DDPStrategy']


@STRATEGIES.register_module()
class DDPStrategy(mmengine_strategy.DDPStrategy):
    """mmengine's strategy, which also runs on CPUs and in one process.

    mmengine (0.10.7) passes the number of a GPU to torch in any case, and needs a launcher.

    Args:
        sync_bn: 'torch' has every BatchNorm layer take the statistics of all processes.
        find_unused_parameters: Whether parameters may stay without a gradient.
        **kwargs: What the runner gives to every strategy.
    """

    # Whether a process holds parts of the weights only.
    shards_weights = False

    def __init__(
        self,
        sync_bn: str | None = None,
        find_unused_parameters: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(sync_bn=sync_bn, **kwargs)
        self.find_unused_parameters = find_unused_parameters

    def collect(self, save_optimizer: bool) -> None:
        """Gathers what the first process will save; here it has everything already."""

    def model_state_dict(self) -> dict:
        """The weights under the model's own names; mmengine's has those of the wrapper."""
        model = self.model.module if is_model_wrapper(self.model) else self.model
        return weights_to_cpu(model.state_dict())

    def convert_model(self, model: nn.Module) -> nn.Module:
        """Makes the layers fit the number and the kind of processes."""
        if not self.distributed:
            return mmengine_strategy.SingleDeviceStrategy.convert_model(self, model)
        if get_device() == 'cpu':
            return sync_on_cpu(model, convert_all=self.sync_bn is not None)
        return super().convert_model(model)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not self.distributed:
            return mmengine_strategy.SingleDeviceStrategy._wrap_model(self, model)
        if get_device() == 'cpu':
            model = self.convert_model(model)
            return CPUDistributedDataParallel(
                model, find_unused_parameters=self.find_unused_parameters
            )
        self.model_wrapper = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=self.find_unused_parameters,
        )
        return super()._wrap_model(model)
