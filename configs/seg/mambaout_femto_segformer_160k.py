# MambaOut-Femto, all-MLP head of SegFormer, ADE20K, 160k steps: 6.3 million parameters.
# Recipe: that of mambaout_t_upernet_160k.py; the head is https://arxiv.org/abs/2105.15203's.
# Train: tools/dist_train.sh configs/seg/mambaout_femto_segformer_160k.py 8
# For small machines; nothing is published for this pair.
_base_ = './mambaout_t_upernet_160k.py'

model = dict(
    backbone=dict(
        arch='femto',
        drop_path_rate=0.025,
        init_cfg=dict(
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_femto.pth'
        ),
    ),
    decode_head=dict(
        _delete_=True,
        type='SegformerHead',
        in_channels=[48, 96, 192, 288],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
