"""Key map of Vision Mamba (Vim), whose files are those of DeiT's training script."""

from .family import ADAPTER_KEYS, Family, Style

__all__ = ['VIM']

_BACKBONE_KEYS = (
    r'(cls_token$|cls_token_head$|cls_token_tail$|pos_embed$|patch_embed\.|layers\.\d+\.|norm_f\.|'
    r'rope\.freqs_(?:cos|sin)$)'
)

VIM = Family(
    name='vim',
    backbones=('VisionMamba',),
    styles=(
        Style(
            'official',
            marks=('patch_embed.proj.weight', 'layers.0.mixer.A_log'),
            renames=((r'head\.', 'head.fc.'), (_BACKBONE_KEYS, r'backbone.\1')),
        ),
    ),
    backbone_marks=('patch_embed.proj.weight', 'layers.0.mixer.A_log'),
    head_only=(r'cls_token', r'norm_f\.'),
    task_only=(ADAPTER_KEYS,),
)
