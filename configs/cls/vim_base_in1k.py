# Vim-B, ImageNet-1k.
# Recipe: that of vim_small_in1k.py; none was published for this size.
# Train: tools/dist_train.sh configs/cls/vim_base_in1k.py 8
# Published top-1 81.9; not yet reproduced here.
_base_ = './vim_small_in1k.py'

model = dict(backbone=dict(arch='base'), head=dict(in_channels=768))
