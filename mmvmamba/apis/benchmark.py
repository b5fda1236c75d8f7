"""What is timed: our models and the architectures they are compared with, size by size."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torchvision
from torch import nn

from .bare_models import ImagePass, bare_config, build_bare, default_shape
from .optimization import optimize_for_inference
from .timing import Timing, TimingSettings, time_model

__all__ = ['BASELINES', 'run_benchmark']

# DeiT's architectures are ours: the fully visible ones beside the causal Transformers.
DEIT = {'deit_tiny': 'vit_tiny_visible', 'deit_small': 'vit_small_visible'}
TORCHVISION = ('swin_t', 'swin_s', 'swin_b', 'convnext_tiny', 'convnext_small', 'convnext_base')
BASELINES = (*DEIT, *TORCHVISION)


def run_benchmark(
    models: Sequence[str],
    baselines: Sequence[str],
    shapes: Sequence[tuple[int, int]],
    settings: TimingSettings,
    batch_sizes: Sequence[int] = (),
    only_features: bool = False,
    optimize: bool = False,
) -> Iterator[Timing]:
    """Times models one after the other.

    A DeiT runs twice: with torch's fused attention, and with one that writes its map down, as when
    the papers were written.

    Args:
        models: Names that ``get_model`` takes, or config files.
        baselines: Out of ``BASELINES``.
        shapes: Heights and widths; if there are none, each model runs at its own.
        settings: Shape and batch size are those of the other arguments.
        batch_sizes: Those to try; if there are none, that of the settings.
        only_features: Whether the pass ends behind the backbone.
        optimize: Whether models are made ready for inference first.

    Raises:
        ValueError: There is no such model or baseline, or it takes no such image.
    """
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise ValueError(f'a baseline must be one of {", ".join(BASELINES)}, got {unknown[0]}')
    configs = {name: bare_config(DEIT.get(name, name)) for name in (*models, *_ours(baselines))}
    for batch_size in batch_sizes or (settings.batch_size,):
        for name in (*models, *baselines):
            own = (224, 224) if name in TORCHVISION else default_shape(configs[name])
            for shape in shapes or (own,):
                case = replace(settings, batch_size=batch_size, shape=shape)
                for label, variant in _variants(name, case):
                    model = _build(name, configs, only_features)
                    if optimize:
                        model = optimize_for_inference(model.to(settings.device))
                    yield time_model(label, model, variant)


def _ours(baselines: Sequence[str]) -> list[str]:
    return [name for name in baselines if name in DEIT]


def _variants(name: str, case: TimingSettings) -> list[tuple[str, TimingSettings]]:
    if name not in DEIT:
        return [(name, case)]
    plain = replace(case, plain_attention=True)
    return [(f'{name}, fused attention', case), (f'{name}, plain attention', plain)]


def _build(name: str, configs: dict, only_features: bool) -> nn.Module:
    if name not in TORCHVISION:
        return ImagePass(build_bare(configs[name]), only_features)
    model = torchvision.models.get_model(name)
    return model.features if only_features else model
