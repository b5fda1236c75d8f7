# VMamba-S (s2l15), UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vmamba_small_s2l15_upernet_160k.py 8
# Published mIoU 50.6 single scale, 51.2 multi-scale (--tta); not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='small_s2l15',
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm_small_0229_ckpt_epoch_222.pth'
        ),
    ),
)
