# Spatial-Mamba-T, Mask R-CNN, COCO 3x.
# Recipe: https://github.com/EdwardChasel/Spatial-Mamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/spatial_mamba_tiny_maskrcnn_3x.py 8
# Published box AP 49.3, mask AP 43.6; not yet reproduced here.
# The classifiers lie on a drive that asks before it gives: download the file and give
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance_mstrain.py',
    '../_base_/schedules/swin_3x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.SpatialMamba',
        arch='tiny',
        drop_path_rate=0.2,
        out_norm='LN2d',
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
