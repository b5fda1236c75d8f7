# PlainMamba as a segmentor, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only ade20k
# Train: python tools/train.py configs/toy/seg_plain_mamba.py
_base_ = [
    './_base_/models/upernet.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/seg_800.py',
    './_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.PlainMamba',
        arch=dict(embed_dims=64, num_layers=4, num_convs=0, layers_with_dwconv=(0,)),
        img_size=96,
        patch_size=8,
        out_indices=(0, 1, 2, 3),
    ),
    decode_head=dict(in_channels=[64, 64, 64, 64]),
    auxiliary_head=dict(in_channels=64, in_index=3),
)
