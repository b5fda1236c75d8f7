# Spatial-Mamba-T, ImageNet-1k.
# Recipe: https://github.com/EdwardChasel/Spatial-Mamba; 300 epochs, 8 GPUs x 128 images, MESA.
# Train: tools/dist_train.sh configs/cls/spatial_mamba_tiny_in1k.py 8
# Published top-1 83.5; not yet reproduced here.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/vmamba_300e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    type='mmvmamba.MesaClassifier',
    mesa_loss='cross_entropy',
    mesa_weight=1.0,
    backbone=dict(
        type='mmvmamba.SpatialMamba',
        arch='tiny',
        drop_path_rate=0.2,
        out_indices=(3,),
        final_norm=True,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=512),
)
custom_hooks = [
    # The teacher comes in after a quarter of the run.
    dict(
        type='mmvmamba.MesaEMAHook',
        start_epoch=75,
        momentum=1e-4,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    )
]
