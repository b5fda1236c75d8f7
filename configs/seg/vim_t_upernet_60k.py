# Vim-Ti, UperNet, ADE20K, 60k steps.
# Recipe: https://github.com/hustvl/Vim, its segmentation part and launch script; 4 GPUs x 8 images.
# Its layer-wise decay spares the blocks.
# Train: tools/dist_train.sh configs/seg/vim_t_upernet_60k.py 4
# Published mIoU 41.0 (single scale); not yet reproduced here.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/vim_60k.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VisionMamba',
        arch='tiny',
        img_size=512,
        class_token='none',
        drop_path_rate=0.1,
        out_indices=(5, 11, 17, 23),
        feature='hidden',
        last_layer_process='none',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://hustvl/Vim-tiny-midclstok/vim_t_midclstok_76p1acc.pth',
        ),
    ),
    neck=dict(type='mmvmamba.ViTFeaturePyramid', in_channels=192),
    decode_head=dict(in_channels=[192, 192, 192, 192], channels=192),
    auxiliary_head=dict(in_channels=192),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
train_dataloader = dict(batch_size=8)
default_hooks = dict(checkpoint=dict(interval=1000))
