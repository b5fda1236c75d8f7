# PlainMamba-L2, ImageNet-1k.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba; 300 epochs, 8 GPUs x 256 images, fp32.
# Train: tools/dist_train.sh configs/cls/plain_mamba_l2_in1k.py 8
# Published top-1 81.6; not yet reproduced here.
_base_ = './plain_mamba_l1_in1k.py'

model = dict(backbone=dict(arch='L2'), head=dict(in_channels=384))
optim_wrapper = dict(type='OptimWrapper', clip_grad=dict(max_norm=1.0))
param_scheduler = dict(warmup=20)
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=1e-4,
        update_buffers=False,
        priority='ABOVE_NORMAL',
    )
]
