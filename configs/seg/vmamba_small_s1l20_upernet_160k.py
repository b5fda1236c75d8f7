# VMamba-S (s1l20), UperNet, ADE20K, 160k steps.
# Recipe: that of VMamba's other segmentors; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vmamba_small_s1l20_upernet_160k.py 8
# Nothing is published for this pair.
_base_ = './vmamba_tiny_s1l8_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='small_s1l20',
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm1_small_0229s_ckpt_epoch_240.pth'
        ),
    ),
)
