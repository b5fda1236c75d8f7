# MambaOut-Femto, Mask R-CNN, COCO 1x.
# Recipe: https://arxiv.org/abs/2405.07992; what it leaves open is Swin's. 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/det/mambaout_femto_maskrcnn_1x.py 8
# For small machines; nothing is published for this size.
_base_ = './mambaout_t_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='femto',
        drop_path_rate=0.025,
        init_cfg=dict(
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_femto.pth'
        ),
    ),
    neck=dict(in_channels=[48, 96, 192, 288]),
)
