# What the toy segmentors share: generated shapes of four classes before a background, crops of
# 96 x 96, and a schedule of 800 steps. An experiment names this file behind the real one and takes
# the parts of `toy`.
# Data: python tools/dataset_converters/make_toy_data.py --only ade20k
toy_steps = 800
toy_root = 'data/toy/ade20k'
toy_crop = (96, 96)
toy_scale = (192, 128)
toy_labels = dict(type='LoadAnnotations')
toy_dataset = dict(
    _delete_=True,
    type='BaseSegDataset',
    data_root=toy_root,
    metainfo=dict(
        classes=('background', 'disc', 'square', 'triangle', 'cross'),
        palette=[(128, 128, 128), (255, 90, 60), (60, 160, 255), (70, 220, 110), (190, 90, 255)],
    ),
    img_suffix='.jpg',
    seg_map_suffix='.png',
    reduce_zero_label=True,
)
toy = dict(
    data_preprocessor=dict(size=toy_crop),
    tta_pipeline=[
        dict(type='LoadImageFromFile'),
        dict(
            type='TestTimeAug',
            transforms=[
                [
                    dict(type='Resize', scale=(192 * ratio // 4, 128 * ratio // 4), keep_ratio=True)
                    for ratio in (3, 4, 5)
                ],
                [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
                [toy_labels],
                [dict(type='PackSegInputs')],
            ],
        ),
    ],
    train_dataloader=dict(
        batch_size=4,
        num_workers=1,
        dataset=dict(
            data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                toy_labels,
                dict(type='mmvmamba.CheckMaskSize'),
                dict(
                    type='RandomResize', scale=toy_scale, ratio_range=(0.75, 1.5), keep_ratio=True
                ),
                dict(type='RandomCrop', crop_size=toy_crop, cat_max_ratio=0.75),
                dict(type='RandomFlip', prob=0.5),
                dict(type='PhotoMetricDistortion', hue_delta=6),
                dict(type='PackSegInputs'),
            ],
            **toy_dataset,
        ),
    ),
    val_dataloader=dict(
        batch_size=1,
        num_workers=1,
        dataset=dict(
            data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=toy_scale, keep_ratio=True),
                toy_labels,
                dict(type='PackSegInputs'),
            ],
            **toy_dataset,
        ),
    ),
    optim_wrapper=dict(
        _delete_=True,
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01),
        clip_grad=dict(max_norm=1.0),
    ),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
        dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=30, end=toy_steps),
    ],
    train_cfg=dict(max_iters=toy_steps, val_interval=toy_steps),
    auto_scale_lr=dict(base_batch_size=4),
    default_hooks=dict(logger=dict(interval=50), checkpoint=dict(interval=toy_steps)),
)
