"""Key map of Vision Mamba (Vim): the files of DeiT's training script for classification, of mmcv 1
for segmentation and of detectron2 for detection.

No weights of its segmentors and detectors were published; their layouts follow from the code. In
both the pyramid is a part of the backbone, ours is the neck.
"""

from .family import Family, Style, register_family

__all__: list[str] = []

_MARKS = ('patch_embed.proj.weight', 'layers.0.mixer.A_log')

_BACKBONE_KEYS = (
    r'(cls_token$|cls_token_head$|cls_token_tail$|pos_embed$|patch_embed\.|layers\.\d+\.|norm_f\.|'
    r'rope\.freqs_(?:cos|sin)$)'
)

register_family(
    Family(
        name='vim',
        styles=(
            Style(
                'official',
                marks=_MARKS,
                renames=((r'head\.', 'head.fc.'), (_BACKBONE_KEYS, r'backbone.\1')),
            ),
            Style(
                'mmcv 1 segmentor',
                marks=(*(f'backbone.{mark}' for mark in _MARKS), 'backbone.fpn1.0.weight'),
                renames=(
                    (r'backbone\.(fpn[1-4]\.)', r'neck.\1'),
                    (rf'backbone\.{_BACKBONE_KEYS}', r'backbone.\1'),
                    (r'(decode_head\.|auxiliary_head\.)', r'\1'),
                ),
            ),
            Style(
                'detectron2',
                marks=tuple(f'backbone.net.{mark}' for mark in _MARKS),
                renames=(
                    (rf'backbone\.net\.{_BACKBONE_KEYS}', r'backbone.\1'),
                    (r'backbone\.(simfp_[2-5]\.)', r'neck.\1'),
                    # The heads of detectron2 differ from mmdet's in more than their names.
                    (r'(proposal_generator|roi_heads)\.', None),
                    (r'pixel_(mean|std)$', None),
                ),
            ),
        ),
        backbone_marks=_MARKS,
    )
)
