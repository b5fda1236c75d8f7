# VMamba-B (s1l20), UperNet, ADE20K, 160k steps.
# Recipe: that of VMamba's other segmentors; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vmamba_base_s1l20_upernet_160k.py 8
# Nothing is published for this pair.
_base_ = './vmamba_tiny_s1l8_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='base_s1l20',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm1_base_0229s_ckpt_epoch_225.pth'
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
