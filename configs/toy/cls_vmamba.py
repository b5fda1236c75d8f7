# VMamba as a classifier, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  the commands are in configs/toy/_base_/datasets/imagenet.py
# Train: python tools/train.py configs/toy/cls_vmamba.py
_base_ = [
    './_base_/models/classifier.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/cls_5e.py',
    './_base_/runtime_cls.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VMamba',
        arch=dict(dims=(24, 48, 64, 96), depths=(1, 1, 2, 1), ssm_ratio=1.0),
        out_indices=(3,),
        final_norm=True,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=96),
)
