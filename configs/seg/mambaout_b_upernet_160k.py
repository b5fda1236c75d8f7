# MambaOut-Base, UperNet, ADE20K, 160k steps.
# Recipe: https://arxiv.org/abs/2405.07992 and its author's answers (learning rate, drop path);
# what they leave open is Swin's. 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/mambaout_b_upernet_160k.py 8
# Published mIoU 49.6 single scale, 51.0 multi-scale (--tta); not yet reproduced here.
_base_ = './mambaout_t_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='base',
        drop_path_rate=0.6,
        init_cfg=dict(
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_base.pth'
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 768]),
    auxiliary_head=dict(in_channels=512),
)
