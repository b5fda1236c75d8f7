# MambaVision as a classifier, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  the commands are in configs/toy/_base_/datasets/imagenet.py
# Train: python tools/train.py configs/toy/cls_mambavision.py
_base_ = [
    './_base_/models/classifier.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/cls_5e.py',
    './_base_/runtime_cls.py',
]

model = dict(
    type='mmvmamba.MesaClassifier',
    mesa_weight=0.5,
    backbone=dict(
        type='mmvmamba.MambaVision',
        arch=dict(
            dim=16,
            in_dim=16,
            depths=(1, 1, 2, 2),
            num_heads=(4, 8),
            window_size=(4, 2),
        ),
        out_indices=(3,),
        final_norm=True,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=128),
)
custom_hooks = [
    dict(
        type='mmvmamba.MesaEMAHook',
        start_epoch=3,
        momentum=0.02,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    )
]
