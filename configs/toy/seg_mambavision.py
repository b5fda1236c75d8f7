# MambaVision as a segmentor, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only ade20k
# Train: python tools/train.py configs/toy/seg_mambavision.py
_base_ = [
    './_base_/models/upernet.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/seg_2000.py',
    './_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MambaVision',
        arch=dict(
            dim=16,
            in_dim=16,
            depths=(1, 1, 2, 2),
            num_heads=(4, 8),
            window_size=(6, 3),
        ),
        window_size=(6, 3),
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
    ),
    decode_head=dict(in_channels=[16, 32, 64, 128]),
    auxiliary_head=dict(in_channels=64),
)
