# Mask R-CNN on PlainMamba, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only coco
# Train: python tools/train.py configs/toy/det_plain_mamba_maskrcnn.py
_base_ = [
    './_base_/models/mask_rcnn.py',
    './_base_/datasets/coco.py',
    './_base_/schedules/det_8e.py',
    './_base_/runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.PlainMambaAdapter',
        arch=dict(embed_dims=64, num_layers=4, num_convs=0, layers_with_dwconv=(0,)),
        img_size=128,
        adapter=dict(conv_inplane=16, deform_num_heads=4),
    ),
    neck=dict(in_channels=[64, 64, 64, 64]),
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead',
            conv_out_channels=32,
            norm_cfg=dict(type='BN', requires_grad=True),
        )
    ),
)
