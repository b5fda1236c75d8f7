# MambaOut's 300 epochs of cosine and 10 at its end: AdamW for 4096 images a step, here 8 GPUs x 128
# x 4 accumulated. On fewer GPUs raise optim_wrapper.accumulative_counts in proportion, or give
# --auto-scale-lr. The learning rate changes once an epoch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    accumulative_counts=4,
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type='mmvmamba.WarmupCosineLR',
    length=300,
    warmup=20,
    start_ratio=2.5e-4,
    min_ratio=2.5e-3,
)
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=4096)
randomness = dict(seed=42)
