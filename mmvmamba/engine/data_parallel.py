"""Data parallelism for models on the CPU."""

from mmengine.model import MMDistributedDataParallel
from torch import nn

__all__ = ['CPUDistributedDataParallel']


class CPUDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper for a model that is on no device with a number.

    mmengine always passes the local rank as ``device_ids``, which torch refuses for a model on the
    CPU (mmengine 0.10.7, ``Runner.wrap_model``).

    Args:
        module: the model.
        broadcast_buffers: whether rank 0's buffers are sent round before each forward.
        find_unused_parameters: whether parameters may stay without a gradient.
        static_graph: whether every iteration runs the same graph.
        detect_anomalous_params: whether parameters without a gradient are logged.
        device_ids: ignored.
    """

    def __init__(
        self,
        module: nn.Module,
        broadcast_buffers: bool = False,
        find_unused_parameters: bool = False,
        static_graph: bool = False,
        detect_anomalous_params: bool = False,
        device_ids: list[int] | None = None,
    ):
        super().__init__(
            module,
            detect_anomalous_params=detect_anomalous_params,
            broadcast_buffers=broadcast_buffers,
            find_unused_parameters=find_unused_parameters,
            static_graph=static_graph,
        )
