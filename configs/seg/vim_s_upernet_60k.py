# Vim-S, UperNet, ADE20K, 60k steps.
# Recipe: https://github.com/hustvl/Vim, its segmentation part and launch script; 4 GPUs x 8 images.
# Train: tools/dist_train.sh configs/seg/vim_s_upernet_60k.py 4
# Published mIoU 44.9 (single scale); not yet reproduced here.
_base_ = './vim_t_upernet_60k.py'

model = dict(
    backbone=dict(
        arch='small',
        use_rope=True,
        feature='residual',
        last_layer_process='add',
        init_cfg=dict(checkpoint='hf://hustvl/Vim-small-midclstok/vim_s_midclstok_80p5acc.pth'),
    ),
    neck=dict(in_channels=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.95)
)
