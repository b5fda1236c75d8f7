# MILA-B, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/LeapLabTHU/MLLA; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/mila_base_upernet_160k.py 8
# Published mIoU 51.9 single scale, 52.5 multi-scale (--tta); not yet reproduced here.
_base_ = './mila_tiny_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='https://cloud.tsinghua.edu.cn/f/91c85c5a1061496d8796/?dl=1'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
