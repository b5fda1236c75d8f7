"""Key map of VMamba: the release's names, and those of its first files."""

from .family import Family, Style, register_family

__all__: list[str] = []

_MARKS = ('patch_embed.0.weight', 'layers.0.blocks.0.op.x_proj_weight')

register_family(
    Family(
        name='vmamba',
        styles=(
            Style(
                'official',
                marks=_MARKS,
                renames=(
                    (r'(patch_embed\.|layers\.\d+\.|outnorm\d\.)', r'backbone.\1'),
                    (r'classifier\.norm\.', 'backbone.norm.'),
                    (r'classifier\.head\.', 'head.fc.'),
                ),
            ),
            Style(
                'first release',
                marks=(
                    'patch_embed.proj.weight',
                    'layers.0.blocks.0.self_attention.x_proj_weight',
                ),
                renames=(
                    (r'patch_embed\.proj\.', 'backbone.patch_embed.0.'),
                    (r'patch_embed\.norm\.', 'backbone.patch_embed.2.'),
                    (r'(layers\.\d+\.blocks\.\d+)\.ln_1\.', r'backbone.\1.norm.'),
                    (r'(layers\.\d+\.blocks\.\d+)\.self_attention\.', r'backbone.\1.op.'),
                    (r'(layers\.\d+\.)', r'backbone.\1'),
                    (r'norm\.', 'backbone.norm.'),
                    (r'head\.', 'head.fc.'),
                ),
            ),
        ),
        backbone_marks=_MARKS,
    )
)
