# MILA-B, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/LeapLabTHU/MLLA; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mila_base_maskrcnn_1x.py 8
# Published box AP 50.5, mask AP 45.0; not yet reproduced here.
_base_ = './mila_tiny_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='https://cloud.tsinghua.edu.cn/f/91c85c5a1061496d8796/?dl=1'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
