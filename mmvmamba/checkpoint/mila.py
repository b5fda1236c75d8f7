"""Key maps of MILA: the release's classifiers and backbones, and its detectors and segmentors.

A backbone's norms of outputs are called ``norm0`` to ``norm3`` in the files, ``outnorm0`` to
``outnorm3`` here. The tables of rotations pass through: the backbone looks at them and leaves them
out.
"""

from .family import Family, Style, register_family

__all__: list[str] = []

_MARKS = ('patch_embed.conv1.conv.weight', 'layers.0.blocks.0.attn.qk.weight')

register_family(
    Family(
        name='mila',
        styles=(
            Style(
                'official',
                marks=_MARKS,
                renames=(
                    (r'(patch_embed\.|layers\.\d+\.|norm\.)', r'backbone.\1'),
                    (r'norm(\d)\.', r'backbone.outnorm\1.'),
                    (r'head\.', 'head.fc.'),
                ),
            ),
            Style(
                'mmdet 2 or mmseg 0.x',
                marks=(*(f'backbone.{mark}' for mark in _MARKS), 'backbone.norm3.weight'),
                renames=(
                    (r'backbone\.norm(\d)\.', r'backbone.outnorm\1.'),
                    (r'(backbone|neck|rpn_head|roi_head|bbox_head)\.', r'\1.'),
                    (r'(decode_head|auxiliary_head)\.', r'\1.'),
                ),
            ),
        ),
        backbone_marks=_MARKS,
    )
)
