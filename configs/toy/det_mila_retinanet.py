# RetinaNet on MILA, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only coco
# Train: python tools/train.py configs/toy/det_mila_retinanet.py
_base_ = [
    './_base_/models/retinanet.py',
    './_base_/datasets/coco_boxes.py',
    './_base_/schedules/det_8e.py',
    './_base_/runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MILA',
        arch=dict(dims=(24, 48, 64, 96), depths=(1, 1, 2, 1), num_heads=(2, 4, 4, 8)),
        out_norm='LN2d',
    ),
    neck=dict(in_channels=[24, 48, 64, 96]),
)
