# VMamba-S (s2l15), Mask R-CNN, COCO 3x.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_small_s2l15_maskrcnn_3x.py 8
# Published box AP 49.9, mask AP 44.2; not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_maskrcnn_3x.py'

model = dict(
    backbone=dict(
        arch='small_s2l15',
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm_small_0229_ckpt_epoch_222.pth'
        ),
    ),
)
