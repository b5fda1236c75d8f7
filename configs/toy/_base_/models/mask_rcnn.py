# The real Mask R-CNN with three classes, narrow heads and few proposals.
_base_ = '../../../_base_/models/mask_rcnn_fpn.py'
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    # One size, so that the result for an image does not depend on its batch.
    data_preprocessor=dict(pad_size_divisor=128),
    neck=dict(out_channels=64, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=128, num_classes=3),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=32, num_classes=3),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=dict(sampler=dict(num=32))
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)
