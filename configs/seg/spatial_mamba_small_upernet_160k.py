# Spatial-Mamba-S, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/EdwardChasel/Spatial-Mamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/spatial_mamba_small_upernet_160k.py 8
# Published mIoU 50.6 single scale, 51.4 multi-scale (--tta); not yet reproduced here.
# The classifiers lie on a drive that asks before it gives: download the file and give
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
# The published multi-scale test took three sizes, 0.75, 1 and 1.25; --tta takes six.
_base_ = './spatial_mamba_tiny_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
    ),
)
