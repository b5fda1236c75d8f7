# MambaVision-T, Mask R-CNN, COCO 1x.
# Recipe: Swin's; 8 GPUs x 2 images. Nothing is published for this pair.
# Train: tools/dist_train.sh configs/det/mambavision_t_maskrcnn_1x.py 8
_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/swin_1x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MambaVision',
        arch='T',
        window_size=(112, 56),
        use_clipped_windows=True,
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
