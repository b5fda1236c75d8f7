# PlainMamba-Adapter-L2, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba, configs of its detection part; 8 GPUs x 2
# images. Train: tools/dist_train.sh configs/det/l2_maskrcnn_1x.py 8
# Published box AP 46.0, mask AP 40.6; not yet reproduced here.
_base_ = './l1_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        arch='L2',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='hf://ChenhongyiYang/PlainMamba/l2.pth'),
    ),
    neck=dict(in_channels=[384, 384, 384, 384]),
)
