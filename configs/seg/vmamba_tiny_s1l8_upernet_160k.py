# VMamba-T (s1l8), UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vmamba_tiny_s1l8_upernet_160k.py 8
# Published mIoU 47.9 single scale, 48.8 multi-scale (--tta); not yet reproduced here.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/schedule_160k_no_norm_decay.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VMamba',
        arch='tiny_s1l8',
        drop_path_rate=0.2,
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm1_tiny_0230s_ckpt_epoch_264.pth',
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
