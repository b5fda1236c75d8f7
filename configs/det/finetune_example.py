# Fine-tuning Mask R-CNN with MambaOut-Femto on one's own images and COCO annotations.
# See docs/finetune_detection.md. Change the lines below; the learning rate suits 16 images a step.
# Train: python tools/train.py configs/det/finetune_example.py
_base_ = './mambaout_femto_maskrcnn_1x.py'

data_root = 'data/my_objects/'
classes = ('screw', 'nut')
scale = (1333, 800)
batch_size = 2
epochs = 12

model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=len(classes)), mask_head=dict(num_classes=len(classes))
    )
)
load_annotations = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    load_annotations,
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    load_annotations,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
dataset = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    dataset=dict(
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator

# Iterations to a step.
optim_wrapper = dict(accumulative_counts=16 // batch_size)
train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    # Over the first epoch, however few images it has.
    dict(
        type='LinearLR',
        start_factor=0.001,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='MultiStepLR',
        begin=0,
        end=epochs,
        by_epoch=True,
        milestones=[epochs * 2 // 3, epochs - 1],
        gamma=0.1,
    ),
]
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP', rule='greater'))
