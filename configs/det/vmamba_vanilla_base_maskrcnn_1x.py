# VMamba-B of the first version, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_vanilla_base_maskrcnn_1x.py 8
# Published box AP 48.6, mask AP 43.3; not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='vanilla_base',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v0cls/vssmbase_dp06_ckpt_epoch_241.pth'
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
