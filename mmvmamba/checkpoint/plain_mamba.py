"""Key map of PlainMamba. Its files are OpenMMLab checkpoints already and keep their names."""

from .family import Family, Style, register_family

__all__: list[str] = []

_BACKBONE_KEYS = r'(pos_embed$|patch_embed\.|layers\.\d+\.|ln1\.|norm_layer\d+\.)'

register_family(
    Family(
        name='plain_mamba',
        styles=(
            Style(
                'backbone without prefix',
                marks=('patch_embed.projection.weight', 'layers.0.mamba.direction_Bs'),
                renames=((_BACKBONE_KEYS, r'backbone.\1'), (r'(head\.fc\.)', r'\1')),
            ),
        ),
        backbone_marks=('patch_embed.projection.weight', 'layers.0.mamba.direction_Bs'),
        # Its EMA hook keeps the raw weights in top-level buffers; the ordinary keys hold the
        # averaged ones.
        dropped=(r'ema_',),
    )
)
