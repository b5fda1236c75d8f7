# VMamba-S (s1l20), Mask R-CNN, COCO 1x.
# Recipe: that of VMamba's other detectors; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_small_s1l20_maskrcnn_1x.py 8
# Nothing is published for this pair.
_base_ = './vmamba_tiny_s1l8_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='small_s1l20',
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm1_small_0229s_ckpt_epoch_240.pth'
        ),
    ),
)
