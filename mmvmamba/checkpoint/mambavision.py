"""Key map of MambaVision: timm-style training files and Hugging Face folders.

The prefix ``model.`` of the latter is gone by the time these names are looked at.
"""

from collections.abc import Mapping
from typing import Any

from .family import Family, HubFormat, Style, register_family

__all__: list[str] = []

_STRIDE_OF_STAGE_2 = 16


def _backbone(entries: Mapping[str, Any]) -> dict[str, Any]:
    names = ('dim', 'in_dim', 'depths', 'num_heads', 'window_size')
    arch = {name: entries[name] for name in names}
    return dict(
        arch=dict(arch, layer_scale=entries.get('layer_scale')),
        mlp_ratio=entries.get('mlp_ratio', 4.0),
        layer_scale_conv=entries.get('layer_scale_conv'),
    )


def _img_size(entries: Mapping[str, Any]) -> int:
    # In training each of the last two stages was a single window.
    return _STRIDE_OF_STAGE_2 * int(entries['window_size'][2])


register_family(
    Family(
        name='mambavision',
        styles=(
            Style(
                'official',
                marks=('patch_embed.conv_down.0.weight', 'levels.0.blocks.0.conv1.weight'),
                renames=(
                    (r'(patch_embed\.|levels\.\d+\.|norm\.|outnorm\d+\.)', r'backbone.\1'),
                    (r'head\.', 'head.fc.'),
                ),
            ),
        ),
        backbone_marks=('patch_embed.conv_down.0.weight', 'levels.0.blocks.0.conv1.weight'),
        hub=HubFormat('mambavision', _backbone, _img_size),
    )
)
