# Vision Mamba as a segmentor, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only ade20k
# Train: python tools/train.py configs/toy/seg_vim.py
_base_ = [
    './_base_/models/upernet.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/seg_800.py',
    './_base_/runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VisionMamba',
        arch=dict(embed_dims=64, num_layers=4),
        img_size=96,
        patch_size=8,
        class_token='none',
        out_indices=(0, 1, 2, 3),
        feature='hidden',
        last_layer_process='none',
    ),
    neck=dict(
        type='mmvmamba.ViTFeaturePyramid',
        in_channels=64,
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    decode_head=dict(in_channels=[64, 64, 64, 64]),
    auxiliary_head=dict(in_channels=64),
    test_cfg=dict(mode='slide', crop_size=(96, 96), stride=(64, 64)),
)
