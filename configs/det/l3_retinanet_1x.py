# PlainMamba-Adapter-L3, RetinaNet, COCO 1x.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba, configs of its detection part; 8 GPUs x 2
# images. Train: tools/dist_train.sh configs/det/l3_retinanet_1x.py 8
# Published box AP 44.8; not yet reproduced here.
_base_ = './l1_retinanet_1x.py'

model = dict(
    backbone=dict(
        arch='L3',
        drop_path_rate=0.3,
        adapter=dict(deform_num_heads=8),
        init_cfg=dict(checkpoint='hf://ChenhongyiYang/PlainMamba/l3.pth'),
    ),
    neck=dict(in_channels=[448, 448, 448, 448]),
)
