# VMamba-S of the first version, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_vanilla_small_maskrcnn_1x.py 8
# Published box AP 48.2, mask AP 43.0; not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='vanilla_small',
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v0cls/vssmsmall_dp03_ckpt_epoch_238.pth'
        ),
    ),
)
