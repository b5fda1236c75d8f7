# MambaOut-Tiny, Mask R-CNN, COCO 1x.
# Recipe: https://arxiv.org/abs/2405.07992; what it leaves open is Swin's. 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mambaout_t_maskrcnn_1x.py 8
# Published box AP 45.1, mask AP 41.0; not yet reproduced here.
_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/swin_1x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MambaOut',
        arch='tiny',
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_tiny.pth',
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 576]),
)
optim_wrapper = dict(type='mmvmamba.FiniteAmpOptimWrapper', dtype='auto_float16')
