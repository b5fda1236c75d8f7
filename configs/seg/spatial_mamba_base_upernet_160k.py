# Spatial-Mamba-B, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/EdwardChasel/Spatial-Mamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/spatial_mamba_base_upernet_160k.py 8
# Published mIoU 51.8 single scale, 52.6 multi-scale (--tta); not yet reproduced here.
# The classifiers lie on a drive that asks before it gives: download the file and give
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
# The published multi-scale test took three sizes, 0.75, 1 and 1.25; --tta takes six.
_base_ = './spatial_mamba_tiny_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
