# Generated shapes of four classes before a background, crops of 96 x 96.
# Data: python tools/dataset_converters/make_toy_data.py --only ade20k
_base_ = '../../../_base_/datasets/ade20k_512.py'
crop_size = (96, 96)
scale = (192, 128)
dataset = dict(
    _delete_=True,
    type='BaseSegDataset',
    data_root='data/toy/ade20k',
    metainfo=dict(
        classes=('background', 'disc', 'square', 'triangle', 'cross'),
        palette=[(128, 128, 128), (255, 90, 60), (60, 160, 255), (70, 220, 110), (190, 90, 255)],
    ),
    img_suffix='.jpg',
    seg_map_suffix='.png',
    reduce_zero_label=True,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion', hue_delta=6),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(192 * ratio // 4, 128 * ratio // 4), keep_ratio=True)
                for ratio in (3, 4, 5)
            ],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader
