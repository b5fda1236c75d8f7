# MambaVision's 310 epochs of cosine and 10 at its end: LAMB for 4096 images a step, 32 GPUs x 128.
# On fewer GPUs raise optim_wrapper.accumulative_counts in proportion, or give --auto-scale-lr.
optim_wrapper = dict(
    type='mmvmamba.FiniteAmpOptimWrapper',
    optimizer=dict(
        type='Lamb',
        lr=5e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.05,
        max_grad_norm=1.0,
    ),
    clip_grad=dict(max_norm=5.0),
    accumulative_counts=4,
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type='mmvmamba.WarmupCosineLR',
    length=310,
    warmup=20,
    start_ratio=2e-4,
    min_ratio=1e-3,
    shift=1,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=320, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=4096)
randomness = dict(seed=31)
