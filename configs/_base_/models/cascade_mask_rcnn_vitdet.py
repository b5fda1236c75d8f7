# Cascade Mask R-CNN of ViTDet: a simple feature pyramid, LayerNorm in the heads, class-agnostic
# boxes. The experiment adds the backbone and the channels of its map.
_base_ = './cascade_mask_rcnn_fpn.py'

norm_cfg = dict(type='mmvmamba.LN2d', eps=1e-6)
box_head = dict(
    type='ConvFCBBoxHead',
    num_shared_convs=4,
    num_shared_fcs=1,
    in_channels=256,
    conv_out_channels=256,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=80,
    reg_class_agnostic=True,
    norm_cfg=norm_cfg,
    loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    loss_bbox=dict(type='L1Loss', loss_weight=1.0),
)
target_stds = [[0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [1 / 30, 1 / 30, 1 / 15, 1 / 15]]

model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    neck=dict(_delete_=True, type='mmvmamba.SimpleFPN', out_channels=256, num_outs=5),
    rpn_head=dict(num_convs=2, loss_bbox=dict(_delete_=True, type='L1Loss', loss_weight=1.0)),
    roi_head=dict(
        stage_loss_weights=[1, 1, 1],
        # Each stage sends a third of its gradient into the pyramid.
        bbox_roi_extractor=dict(type='mmvmamba.ScaledGradientRoIExtractor', gradient_scale=1 / 3),
        bbox_head=[
            dict(
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=stds,
                ),
                **box_head,
            )
            for stds in target_stds
        ],
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=1000)),
)
