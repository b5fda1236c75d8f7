# The real RetinaNet with three classes and a narrow head.
_base_ = '../../../_base_/models/retinanet_fpn.py'
# The pyramid starts at stride 8: what the backbone has for stride 4 alone gets no gradient.
find_unused_parameters = True

model = dict(
    # One size, so that the result for an image does not depend on its batch.
    data_preprocessor=dict(pad_size_divisor=128),
    # Maps of stride 64 and 128 would have one to four pixels.
    neck=dict(out_channels=64, num_outs=3, norm_cfg=dict(type='BN', requires_grad=True)),
    bbox_head=dict(
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        # The shapes are smaller than COCO's objects.
        anchor_generator=dict(octave_base_scale=3, strides=[8, 16, 32]),
    ),
)
