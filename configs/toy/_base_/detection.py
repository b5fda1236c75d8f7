# What the toy detectors share: generated shapes of three classes, small heads, and a schedule of
# 400 steps. An experiment names this file behind the real one and takes the parts of `toy`.
# Data: python tools/dataset_converters/make_toy_data.py --only coco
toy_root = 'data/toy/coco/'
toy_epochs = 8
toy_norm = dict(type='BN', requires_grad=True)
# Masks are loaded for detectors without masks too: the pictures of the ground truth show them.
toy_load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
toy_resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
toy_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
toy_dataset = dict(
    data_root=toy_root,
    metainfo=dict(
        classes=('disc', 'square', 'triangle'),
        palette=[(255, 90, 60), (60, 160, 255), (70, 220, 110)],
    ),
)
toy = dict(
    train_dataloader=dict(
        batch_size=8,
        num_workers=1,
        dataset=dict(
            pipeline=[
                dict(type='LoadImageFromFile'),
                toy_load,
                toy_resize,
                dict(type='RandomFlip', prob=0.5),
                dict(type='PackDetInputs'),
            ],
            **toy_dataset,
        ),
    ),
    val_dataloader=dict(
        batch_size=8,
        num_workers=1,
        dataset=dict(
            pipeline=[
                dict(type='LoadImageFromFile'),
                toy_resize,
                toy_load,
                dict(type='PackDetInputs', meta_keys=toy_keys),
            ],
            **toy_dataset,
        ),
    ),
    val_evaluator=dict(ann_file=toy_root + 'annotations/instances_val2017.json'),
    tta_pipeline=[
        dict(type='LoadImageFromFile'),
        dict(
            type='TestTimeAug',
            transforms=[
                [dict(toy_resize, scale=(side, side)) for side in (128, 160)],
                [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
                [dict(type='LoadAnnotations', with_bbox=True)],
                [dict(type='PackDetInputs', meta_keys=(*toy_keys, 'flip', 'flip_direction'))],
            ],
        ),
    ],
    # One size, so that the result for an image does not depend on its batch.
    data_preprocessor=dict(pad_size_divisor=128),
    norm_cfg=toy_norm,
    maskrcnn_neck=dict(out_channels=64, norm_cfg=toy_norm),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(
            in_channels=64,
            conv_out_channels=32,
            fc_out_channels=128,
            num_classes=3,
            norm_cfg=toy_norm,
        ),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=32, num_classes=3),
    ),
    roi_train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=dict(sampler=dict(num=32))
    ),
    roi_test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
    # Maps of stride 64 and 128 would have one to four pixels.
    retinanet_neck=dict(out_channels=64, norm_cfg=toy_norm, num_outs=3),
    bbox_head=dict(
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        # The shapes are smaller than COCO's objects.
        anchor_generator=dict(octave_base_scale=3, strides=[8, 16, 32]),
    ),
    optim_wrapper=dict(
        _delete_=True,
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        clip_grad=dict(max_norm=35),
    ),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
        dict(
            type='MultiStepLR',
            begin=0,
            end=toy_epochs,
            by_epoch=True,
            milestones=[toy_epochs - 2, toy_epochs - 1],
            gamma=0.1,
        ),
    ],
    train_cfg=dict(max_epochs=toy_epochs, val_interval=toy_epochs),
    auto_scale_lr=dict(base_batch_size=8),
    default_hooks=dict(logger=dict(interval=10)),
)
