# MILA-T, Mask R-CNN, COCO 3x.
# Recipe: https://github.com/LeapLabTHU/MLLA; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mila_tiny_maskrcnn_3x.py 8
# Published box AP 48.8, mask AP 43.8; not yet reproduced here.
_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance_mstrain.py',
    '../_base_/schedules/mila_3x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MILA',
        arch='tiny',
        drop_path_rate=0.3,
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://cloud.tsinghua.edu.cn/f/7a19712877cb4242889c/?dl=1',
        ),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
