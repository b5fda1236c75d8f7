# Mask R-CNN on MambaVision, small enough for a laptop: the parts of the real
# experiment with another size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only coco
# Train: python tools/train.py configs/toy/det_mambavision_maskrcnn.py
_base_ = [
    './_base_/models/mask_rcnn.py',
    './_base_/datasets/coco.py',
    './_base_/schedules/det_8e.py',
    './_base_/runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MambaVision',
        arch=dict(
            dim=16,
            in_dim=16,
            depths=(1, 1, 2, 2),
            num_heads=(4, 8),
            window_size=(8, 4),
        ),
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
    ),
    neck=dict(in_channels=[16, 32, 64, 128]),
)
