# MambaOut-Small, UperNet, ADE20K, 160k steps.
# Recipe: https://arxiv.org/abs/2405.07992 and its author's answers (learning rate, drop path);
# what they leave open is Swin's. 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/mambaout_s_upernet_160k.py 8
# Published mIoU 49.5 single scale, 50.6 multi-scale (--tta); not yet reproduced here.
# The author names 0.3 or 0.4 for this size.
_base_ = './mambaout_t_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_small.pth'
        ),
    ),
)
