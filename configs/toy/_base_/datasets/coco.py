# Generated shapes of three classes, 128 x 128.
# Data: python tools/dataset_converters/make_toy_data.py --only coco
_base_ = '../../../_base_/datasets/coco_instance.py'
data_root = 'data/toy/coco/'
metainfo = dict(
    classes=('disc', 'square', 'triangle'),
    palette=[(255, 90, 60), (60, 160, 255), (70, 220, 110)],
)
resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
# Masks are loaded for detectors without masks too: the pictures of the ground truth show them.
load_annotations = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')

train_pipeline = [
    dict(type='LoadImageFromFile'),
    load_annotations,
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    load_annotations,
    dict(type='PackDetInputs', meta_keys=meta_keys),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(resize, scale=(side, side)) for side in (128, 160)],
            [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
            [dict(type='LoadAnnotations', with_bbox=True)],
            [dict(type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction'))],
        ],
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
