# 100 epochs of COCO in 184,375 steps of 64 images, with layer-wise decay of the learning rate.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=184375, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(
        type='MultiStepLR',
        begin=0,
        end=184375,
        by_epoch=False,
        milestones=[163889, 177546],
        gamma=0.1,
    ),
]
optim_wrapper = dict(
    type='mmvmamba.FiniteAmpOptimWrapper',
    dtype='auto_float16',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    constructor='mmvmamba.LayerDecayOptimWrapperConstructor',
    # The only parameter that is free of weight decay in the published recipe.
    paramwise_cfg=dict(layer_decay_rate=0.837, custom_keys={'pos_embed': dict(decay_mult=0.0)}),
)
auto_scale_lr = dict(enable=False, base_batch_size=64)
