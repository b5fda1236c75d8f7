# VMamba-B (s2l15), UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vmamba_base_s2l15_upernet_160k.py 8
# Published mIoU 51.0 single scale, 51.6 multi-scale (--tta); not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='base_s2l15',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm_base_0229_ckpt_epoch_237.pth'
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
