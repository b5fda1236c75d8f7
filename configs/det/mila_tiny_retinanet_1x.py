# MILA-T, RetinaNet, COCO 1x.
# Recipe: Swin's; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mila_tiny_retinanet_1x.py 8
# Nothing is published for this pair.
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
        type='mmvmamba.MILA',
        arch='tiny',
        drop_path_rate=0.1,
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://cloud.tsinghua.edu.cn/f/7a19712877cb4242889c/?dl=1',
        ),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
