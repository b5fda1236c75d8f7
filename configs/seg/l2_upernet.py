# PlainMamba-L2, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba, its segmentation part; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/l2_upernet.py 8
# Published mIoU 46.8 (single scale); not yet reproduced here.
_base_ = './l1_upernet.py'

model = dict(
    backbone=dict(
        arch='L2',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='hf://ChenhongyiYang/PlainMamba/l2.pth'),
    ),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384),
)
