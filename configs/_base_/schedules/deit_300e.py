# DeiT's 300 epochs for 1024 images a step: 8 GPUs x 128. On fewer GPUs raise
# optim_wrapper.accumulative_counts in proportion, or give --auto-scale-lr. The learning rate
# changes once an epoch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    accumulative_counts=1,
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            '.pos_embed': dict(decay_mult=0.0),
            '.cls_token': dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = dict(
    type='mmvmamba.WarmupCosineLR',
    length=300,
    warmup=5,
    start_ratio=1e-3,
    min_ratio=1e-2,
    # The official loop sets the learning rate after an epoch: the first one counts twice.
    shift=-1,
)
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=1024)
