# 60,000 steps of 32 images with the learning rate of Vim's launch script.
_base_ = './schedule_160k.py'

train_cfg = dict(max_iters=60000, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=0, end=60000),
]
optim_wrapper = dict(
    optimizer=dict(lr=2e-4, weight_decay=0.1),
    constructor='mmvmamba.LayerDecayOptimWrapperConstructor',
    # Upstream's rule misses the blocks: only the position and patch embeddings are decayed.
    paramwise_cfg=dict(
        layer_decay_rate=0.92, decay_blocks=False, flat_decay_mult=0.0, bias_decay_mult=0.0
    ),
)
auto_scale_lr = dict(base_batch_size=32)
