# MILA-S, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/LeapLabTHU/MLLA; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mila_small_maskrcnn_1x.py 8
# Published box AP 49.2, mask AP 44.2; not yet reproduced here.
_base_ = './mila_tiny_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='https://cloud.tsinghua.edu.cn/f/0e5d0b1409d540aaa80c/?dl=1'),
    ),
)
