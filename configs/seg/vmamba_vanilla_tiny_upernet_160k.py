# VMamba-T of the first version, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vmamba_vanilla_tiny_upernet_160k.py 8
# Published mIoU 47.3 single scale, 48.3 multi-scale (--tta); not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='vanilla_tiny',
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v0cls/vssmtiny_dp01_ckpt_epoch_292.pth'
        ),
    ),
)
