"""Key map of MambaVision: timm-style training files and Hugging Face folders.

The prefix ``model.`` of the latter is gone by the time these names are looked at.
"""

from .family import Family, Style, register_family

__all__: list[str] = []

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
    )
)
