# VMamba-B (s2l15), Mask R-CNN, COCO 1x.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_base_s2l15_maskrcnn_1x.py 8
# Published box AP 49.2, mask AP 44.1; not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='base_s2l15',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm_base_0229_ckpt_epoch_237.pth'
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
