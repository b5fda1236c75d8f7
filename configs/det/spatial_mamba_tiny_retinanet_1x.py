# Spatial-Mamba-T, RetinaNet, COCO 1x.
# Recipe: Swin's; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/spatial_mamba_tiny_retinanet_1x.py 8
# Nothing is published for this pair.
# The classifiers lie on a drive that asks before it gives: download the file and give
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
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
        type='mmvmamba.SpatialMamba',
        arch='tiny',
        drop_path_rate=0.2,
        out_norm='LN2d',
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
