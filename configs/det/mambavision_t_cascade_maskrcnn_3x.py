# MambaVision-T, Cascade Mask R-CNN, COCO 3x.
# Recipe: the released detection config; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mambavision_t_cascade_maskrcnn_3x.py 8
# Published box AP 51.1, mask AP 44.3; not yet reproduced here.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance_mstrain.py',
    '../_base_/schedules/swin_3x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MambaVision',
        arch='T',
        # One window for images of up to 1792 pixels a side, most of it padding. The released
        # detectors were trained so; use_clipped_windows=True is much faster and not the same.
        window_size=(112, 56),
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://nvidia/MambaVision-T-1K/mambavision_tiny_1k.pth.tar',
        ),
    ),
    neck=dict(in_channels=[80, 160, 320, 640]),
)
optim_wrapper = dict(type='mmvmamba.FiniteAmpOptimWrapper', dtype='auto_float16')
