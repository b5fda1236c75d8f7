# VMamba-B (s1l20), Mask R-CNN, COCO 1x.
# Recipe: that of VMamba's other detectors; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_base_s1l20_maskrcnn_1x.py 8
# Nothing is published for this pair.
_base_ = './vmamba_tiny_s1l8_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='base_s1l20',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm1_base_0229s_ckpt_epoch_225.pth'
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
