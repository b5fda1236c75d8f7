# VMamba-T (s1l8), ImageNet-1k.
# Recipe: https://github.com/MzeroMiko/VMamba; 300 epochs, 8 GPUs x 128 images, fp16.
# Train: tools/dist_train.sh configs/cls/vmamba_tiny_s1l8_in1k.py 8
# Published top-1 82.6; not yet reproduced here.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/vmamba_300e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VMamba',
        arch='tiny_s1l8',
        drop_path_rate=0.2,
        out_indices=(3,),
        final_norm=True,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=768),
)
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=1e-4,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    )
]
