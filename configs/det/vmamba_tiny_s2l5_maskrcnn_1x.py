# VMamba-T (s2l5), Mask R-CNN, COCO 1x.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_tiny_s2l5_maskrcnn_1x.py 8
# Published box AP 47.4, mask AP 42.7; not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='tiny_s2l5',
        drop_path_rate=0.2,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm_tiny_0230_ckpt_epoch_262.pth'
        ),
    ),
)
