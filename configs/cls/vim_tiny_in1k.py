# Vim-Ti, ImageNet-1k.
# Recipe: https://github.com/hustvl/Vim; 300 epochs, 8 GPUs x 128 images, fp32.
# Train: tools/dist_train.sh configs/cls/vim_tiny_in1k.py 8
# Published top-1 76.1; not yet reproduced here.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_224_repeated.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(type='mmvmamba.VisionMamba', arch='tiny', out_type='cls_token'),
    head=dict(in_channels=192),
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.1))
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=4e-5,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    )
]
