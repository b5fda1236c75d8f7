# PlainMamba-L1, UperNet, ADE20K, 160k steps.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba, its segmentation part; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/l1_upernet.py 8
# Published mIoU 44.1 (single scale); not yet reproduced here.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/plain_mamba_160k.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.PlainMamba',
        arch='L1',
        out_indices=(5, 11, 17, 23),
        drop_path_rate=0.1,
        final_norm=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://ChenhongyiYang/PlainMamba/l1.pth',
            prefix='backbone.',
        ),
    ),
    decode_head=dict(in_channels=[192, 192, 192, 192]),
    auxiliary_head=dict(in_channels=192, in_index=3),
)
# The official test resizes the image up to multiples of 32.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='ResizeToMultiple', size_divisor=32),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
