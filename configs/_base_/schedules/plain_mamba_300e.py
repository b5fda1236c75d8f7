# PlainMamba's 300 epochs: AdamW at 5e-4 for 512 images, a warm-up that multiplies the cosine.
# The learning rate is for 2048 images a step: 8 GPUs x 256. On fewer GPUs raise
# optim_wrapper.accumulative_counts in proportion, or give --auto-scale-lr.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    accumulative_counts=1,
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            '.pos_embed': dict(decay_mult=0.0),
            '.A_log': dict(decay_mult=0.0),
            '.D': dict(decay_mult=0.0),
            '.direction_Bs': dict(decay_mult=0.0),
            # The one bias that the official optimizer decays.
            '.conv2d.bias': dict(decay_mult=1.0),
        },
    ),
)
param_scheduler = dict(
    type='mmvmamba.WarmupCosineLR',
    length=300,
    warmup=20,
    start_ratio=1e-3,
    min_ratio=0.01,
    warmup_is_factor=True,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=2048)
