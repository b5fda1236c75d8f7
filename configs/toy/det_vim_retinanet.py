# RetinaNet on Vim with an adapter, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only coco
# Train: python tools/train.py configs/toy/det_vim_retinanet.py
_base_ = [
    './_base_/models/retinanet.py',
    './_base_/datasets/coco_boxes.py',
    './_base_/schedules/det_8e.py',
    './_base_/runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VimAdapter',
        arch=dict(embed_dims=64, num_layers=4),
        img_size=128,
        adapter=dict(conv_inplane=16, deform_num_heads=4),
    ),
    neck=dict(in_channels=[64, 64, 64, 64]),
)
