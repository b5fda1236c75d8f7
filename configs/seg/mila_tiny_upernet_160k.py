# MILA-T, UperNet, ADE20K, 160k steps.
# Recipe: by analogy with MILA-B's; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/mila_tiny_upernet_160k.py 8
# Nothing is published for this pair.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/schedule_160k_no_norm_decay.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.MILA',
        arch='tiny',
        drop_path_rate=0.2,
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://cloud.tsinghua.edu.cn/f/7a19712877cb4242889c/?dl=1',
        ),
    ),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256),
)
