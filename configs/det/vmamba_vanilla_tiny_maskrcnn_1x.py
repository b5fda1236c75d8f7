# VMamba-T of the first version, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_vanilla_tiny_maskrcnn_1x.py 8
# Published box AP 46.5, mask AP 42.1; not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='vanilla_tiny',
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v0cls/vssmtiny_dp01_ckpt_epoch_292.pth'
        ),
    ),
)
