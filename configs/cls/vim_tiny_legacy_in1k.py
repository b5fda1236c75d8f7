# Vim-Ti of the first release (January 2024), ImageNet-1k.
# Recipe: that of vim_tiny_in1k.py; for its weights vim_tiny_73p1.pth.
# Train: tools/dist_train.sh configs/cls/vim_tiny_legacy_in1k.py 8
# Published top-1 73.1; not yet reproduced here.
_base_ = './vim_tiny_in1k.py'

model = dict(backbone=dict(arch='tiny_legacy'))
