"""How a backbone starts from the checkpoint that its ``init_cfg`` names."""

from torch import nn

from mmvmamba.registry import WEIGHT_INITIALIZERS

from .loading import load_backbone

__all__ = ['PretrainedBackbone']


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Loads a backbone as ``init_cfg=dict(type='Pretrained', ...)`` says, but strictly.

    Args:
        checkpoint: See ``load_backbone``, as are the others.
        prefix: Where the backbone is in the file.
        map_location: Where tensors are put before they are copied.
        entry: The entry of the file to take.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        map_location: str = 'cpu',
        entry: str | None = None,
    ) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix
        self.map_location, self.entry = map_location, entry

    def __call__(self, backbone: nn.Module) -> None:
        load_backbone(backbone, self.checkpoint, self.prefix, self.map_location, self.entry)
