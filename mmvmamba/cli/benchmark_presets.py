"""The comparisons of papers that ``mmvmamba benchmark`` makes again."""

from dataclasses import dataclass

from mmvmamba.apis.timing import TimingSettings

__all__ = ['PRESETS', 'Preset']


@dataclass(frozen=True)
class Preset:
    """A comparison of a paper.

    Args:
        about: What it is.
        models: Ours.
        baselines: What they are compared with.
        sides: Of the square images.
        only_features: Whether the pass ends behind the backbone.
        settings: The rest.
    """

    about: str
    models: tuple[str, ...]
    baselines: tuple[str, ...]
    sides: tuple[int, ...]
    only_features: bool
    settings: TimingSettings


PRESETS = {
    'vim': Preset(
        "Vim's figure 1: features at growing sizes beside DeiT, batch 64, float32",
        ('vim_tiny',),
        ('deit_tiny',),
        (512, 640, 738, 1024, 1248),
        True,
        TimingSettings(batch_size=64, warmups=5),
    ),
    'mambavision': Preset(
        "MambaVision's throughput: 224 x 224, batch 128, autocast to float16, channels last",
        tuple(f'mambavision_{size}' for size in ('t', 't2', 's', 'b', 'l', 'l2')),
        ('swin_t', 'convnext_tiny'),
        (224,),
        False,
        TimingSettings(
            batch_size=128, dtype='float16', channels_last=True, warmups=10, least=500, seconds=0
        ),
    ),
}
