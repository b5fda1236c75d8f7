# PlainMamba-L3, ImageNet-1k.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba; 300 epochs, 4 GPUs x 256 images, fp32.
# Train: tools/dist_train.sh configs/cls/plain_mamba_l3_in1k.py 4
# Published top-1 82.3; not yet reproduced here.
# The average of the weights follows ten times faster from epoch 250 on, as the release intended.
_base_ = './plain_mamba_l2_in1k.py'

model = dict(backbone=dict(arch='L3', drop_path_rate=0.4), head=dict(in_channels=448))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='mmvmamba.SteppedEMA',
        momentum=1e-4,
        # 250 epochs of 1252 steps.
        milestone=313000,
        factor=10.0,
        update_buffers=False,
        priority='ABOVE_NORMAL',
    )
]
auto_scale_lr = dict(base_batch_size=1024)
