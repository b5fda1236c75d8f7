"""Key map of Spatial-Mamba. Its ``norm`` is the classifier's, not one of the outputs'."""

from .family import Family, Style, register_family

__all__: list[str] = []

_MARKS = ('patch_embed.conv1.conv.weight', 'layers.0.blocks.0.self_attention.state_fusion.alpha')

register_family(
    Family(
        name='spatial_mamba',
        styles=(
            Style(
                'official',
                marks=_MARKS,
                renames=(
                    (r'(patch_embed\.|layers\.\d+\.|norm\.|outnorm\d\.)', r'backbone.\1'),
                    (r'head\.', 'head.fc.'),
                ),
            ),
        ),
        backbone_marks=_MARKS,
    )
)
