# MambaOut-Base, Mask R-CNN, COCO 1x.
# Recipe: https://arxiv.org/abs/2405.07992; what it leaves open is Swin's. 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mambaout_b_maskrcnn_1x.py 8
# Published box AP 47.4, mask AP 43.0; not yet reproduced here.
_base_ = './mambaout_t_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_base.pth'
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 768]),
)
