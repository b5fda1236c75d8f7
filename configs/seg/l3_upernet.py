# PlainMamba-L3, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba, its segmentation part; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/l3_upernet.py 8
# Published mIoU 49.1 (single scale); not yet reproduced here.
_base_ = './l1_upernet.py'

model = dict(
    backbone=dict(
        arch='L3',
        out_indices=(8, 17, 26, 35),
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='hf://ChenhongyiYang/PlainMamba/l3.pth'),
    ),
    decode_head=dict(in_channels=[448, 448, 448, 448]),
    auxiliary_head=dict(in_channels=448),
)
