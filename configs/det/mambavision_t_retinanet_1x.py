# MambaVision-T, RetinaNet, COCO 1x.
# Recipe: Swin's; 8 GPUs x 2 images. Nothing is published for this pair.
# Train: tools/dist_train.sh configs/det/mambavision_t_retinanet_1x.py 8
_base_ = [
    '../_base_/models/retinanet_fpn.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/swin_1x.py',
    '../_base_/default_runtime_det.py',
]
# The pyramid starts at stride 8, so the norm of the stride-4 map gets no gradient.
find_unused_parameters = True

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
