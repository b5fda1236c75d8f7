# VMamba-T (s1l8), RetinaNet, COCO 1x.
# Recipe: Swin's; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/vmamba_tiny_s1l8_retinanet_1x.py 8
# Nothing is published for this pair.
_base_ = [
    '../_base_/models/retinanet_fpn.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/swin_1x.py',
    '../_base_/default_runtime_det.py',
]
# The pyramid starts at stride 8, so the norm of the stride-4 map gets no gradient.
find_unused_parameters = True

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
