# MILA-S, UperNet, ADE20K, 160k steps.
# Recipe: by analogy with MILA-B's; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/mila_small_upernet_160k.py 8
# Nothing is published for this pair.
_base_ = './mila_tiny_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='https://cloud.tsinghua.edu.cn/f/0e5d0b1409d540aaa80c/?dl=1'),
    ),
)
