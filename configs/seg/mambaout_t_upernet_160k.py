# MambaOut-Tiny, UperNet, ADE20K, 160k steps.
# Recipe: https://arxiv.org/abs/2405.07992 and its author's answers (learning rate, drop path);
# what they leave open is Swin's. 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/mambaout_t_upernet_160k.py 8
# Published mIoU 47.4 single scale, 48.6 multi-scale (--tta); not yet reproduced here.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/schedule_160k_no_norm_decay.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MambaOut',
        arch='tiny',
        drop_path_rate=0.3,
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_tiny.pth',
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 576]),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(type='mmvmamba.FiniteAmpOptimWrapper', optimizer=dict(lr=1e-4))
