"""Key maps of MambaOut: the original release, and timm's names for the same models and for its own
variants.

``head.norm`` means the norm after the first layer of the head in the original files, and the norm
before it in timm's.
"""

from .family import Family, Style, register_family

__all__: list[str] = []

register_family(
    Family(
        name='mambaout',
        styles=(
            Style(
                'original',
                marks=('downsample_layers.0.conv1.weight', 'stages.0.0.fc1.weight'),
                renames=(
                    (r'(downsample_layers\.\d+\.|stages\.\d+\.\d+\.)', r'backbone.\1'),
                    (r'norm\.', 'neck.norm.'),
                    (r'head\.fc1\.', 'neck.fc1.'),
                    (r'head\.norm\.', 'neck.inner_norm.'),
                    (r'head\.fc2\.', 'head.fc.'),
                ),
            ),
            Style(
                'timm',
                marks=(
                    'stem.conv1.weight',
                    'stages.0.blocks.0.fc1.weight',
                    'stages.0.blocks.0.conv.weight',
                ),
                renames=(
                    (r'stem\.', 'backbone.downsample_layers.0.'),
                    (r'stages\.(\d+)\.downsample\.', r'backbone.downsample_layers.\1.'),
                    (r'stages\.(\d+)\.blocks\.(\d+)\.', r'backbone.stages.\1.\2.'),
                    (r'head\.norm\.', 'neck.norm.'),
                    (r'head\.pre_logits\.fc\.', 'neck.fc1.'),
                    (r'head\.pre_logits\.norm\.', 'neck.inner_norm.'),
                    (r'head\.fc\.', 'head.fc.'),
                ),
            ),
        ),
        backbone_marks=('downsample_layers.0.conv1.weight', 'stages.0.0.fc1.weight'),
    )
)
