# What the toy classifiers share: generated shapes of six classes in databases, and a schedule of
# 1000 steps. An experiment names this file behind the real one and takes the parts of `toy`.
# Data, in two steps; the second one also for val in place of train:
# python tools/dataset_converters/make_toy_data.py --only imagenet --num-train 4800 --num-val 240
# python tools/dataset_converters/create_lmdb_dataset.py create data/toy/imagenet/train \
#     data/toy/imagenet/train.lmdb
toy_epochs = 5
toy_root = 'data/toy/imagenet'
toy_load = [
    dict(
        type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
    ),
    dict(type='Resize', scale=(32, 32), backend='pillow', interpolation='bilinear'),
]
toy = dict(
    data_preprocessor=dict(num_classes=6),
    train_dataloader=dict(
        batch_size=24,
        num_workers=1,
        sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
        dataset=dict(
            data_root=toy_root,
            pipeline=[*toy_load, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')],
        ),
    ),
    val_dataloader=dict(
        batch_size=60,
        num_workers=1,
        dataset=dict(data_root=toy_root, pipeline=[*toy_load, dict(type='PackInputs')]),
    ),
    optim_wrapper=dict(
        _delete_=True,
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05),
        clip_grad=dict(max_norm=1.0),
    ),
    param_scheduler=dict(
        _delete_=True,
        type='mmvmamba.WarmupCosineLR',
        length=toy_epochs,
        warmup=1,
        start_ratio=0.01,
        min_ratio=0.01,
        convert_to_iter_based=True,
    ),
    train_cfg=dict(max_epochs=toy_epochs, val_interval=toy_epochs),
    auto_scale_lr=dict(base_batch_size=24),
    default_hooks=dict(logger=dict(interval=50), checkpoint=dict(interval=toy_epochs)),
)
