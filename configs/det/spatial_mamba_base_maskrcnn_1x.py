# Spatial-Mamba-B, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/EdwardChasel/Spatial-Mamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/spatial_mamba_base_maskrcnn_1x.py 8
# Published box AP 50.4, mask AP 45.1; not yet reproduced here.
# The classifiers lie on a drive that asks before it gives: download the file and give
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
_base_ = './spatial_mamba_tiny_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
