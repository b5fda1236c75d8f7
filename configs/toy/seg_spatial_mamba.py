# Spatial-Mamba as a segmentor, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only ade20k
# Train: python tools/train.py configs/toy/seg_spatial_mamba.py
_base_ = [
    './_base_/models/upernet.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/seg_2000.py',
    './_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.SpatialMamba',
        arch=dict(dims=(24, 48, 64, 96), depths=(1, 1, 2, 1)),
        out_norm='LN2d',
    ),
    decode_head=dict(in_channels=[24, 48, 64, 96]),
    auxiliary_head=dict(in_channels=64),
)
