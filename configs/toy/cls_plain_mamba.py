# PlainMamba as a classifier, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  the commands are in configs/toy/_base_/datasets/imagenet.py
# Train: python tools/train.py configs/toy/cls_plain_mamba.py
_base_ = [
    './_base_/models/classifier.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/cls_5e.py',
    './_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.PlainMamba',
        arch=dict(embed_dims=64, num_layers=4, num_convs=0, layers_with_dwconv=(0,)),
        img_size=32,
        patch_size=8,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=64),
)
