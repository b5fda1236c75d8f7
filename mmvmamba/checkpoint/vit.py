"""Key map of the plain vision Transformer, whose public files are DeiT's."""

from .family import Family, Style, register_family

__all__: list[str] = []

_MARKS = ('cls_token', 'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight')

register_family(
    Family(
        name='vit',
        styles=(
            Style(
                'DeiT',
                marks=_MARKS,
                renames=(
                    (
                        r'(cls_token$|pos_embed$|patch_embed\.proj\.|blocks\.\d+\.|norm\.)',
                        r'backbone.\1',
                    ),
                    (r'head\.', 'head.fc.'),
                ),
            ),
        ),
        backbone_marks=_MARKS,
    )
)
