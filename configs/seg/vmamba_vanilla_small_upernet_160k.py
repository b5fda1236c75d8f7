# VMamba-S of the first version, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vmamba_vanilla_small_upernet_160k.py 8
# Published mIoU 49.5 single scale, 50.5 multi-scale (--tta); not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='vanilla_small',
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v0cls/vssmsmall_dp03_ckpt_epoch_238.pth'
        ),
    ),
)
