# Spatial-Mamba-T, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/EdwardChasel/Spatial-Mamba; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/spatial_mamba_tiny_upernet_160k.py 8
# Published mIoU 48.6 single scale, 49.4 multi-scale (--tta); not yet reproduced here.
# The classifiers lie on a drive that asks before it gives: download the file and give
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
# The published multi-scale test took three sizes, 0.75, 1 and 1.25; --tta takes six.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/schedule_160k_no_norm_decay.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.SpatialMamba',
        arch='tiny',
        drop_path_rate=0.2,
        out_norm='LN2d',
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256),
)
