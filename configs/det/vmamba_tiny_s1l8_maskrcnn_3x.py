# VMamba-T (s1l8), Mask R-CNN, COCO 3x.
# Recipe: https://github.com/MzeroMiko/VMamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_tiny_s1l8_maskrcnn_3x.py 8
# Published box AP 48.8, mask AP 43.7; not yet reproduced here.
_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance_mstrain.py',
    '../_base_/schedules/swin_3x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VMamba',
        arch='tiny_s1l8',
        drop_path_rate=0.2,
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls/vssm1_tiny_0230s_ckpt_epoch_264.pth',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
