# Vim-S+ (patches at stride 8), ImageNet-1k.
# Recipe: https://github.com/hustvl/Vim; 30 epochs from vim_small, 8 GPUs x 128 images.
# Train: tools/dist_train.sh configs/cls/vim_small_plus_in1k.py 8
# Published top-1 81.6; not yet reproduced here.
_base_ = './vim_tiny_plus_in1k.py'

model = dict(
    backbone=dict(
        arch='small_plus',
        init_cfg=dict(checkpoint='hf://hustvl/Vim-small-midclstok/vim_s_midclstok_80p5acc.pth'),
    ),
    head=dict(in_channels=384),
)
