# MambaVision-L3 (21K), UperNet, ADE20K, 160k steps.
# Recipe: the released segmentation config; crops of 640, 16 GPUs x 1 image, here 8 x 2.
# Train: tools/dist_train.sh configs/seg/mambavision_l3_21k_upernet_160k_640.py 8
# Published mIoU 53.2 (single scale); not yet reproduced here.
# The released config says drop path 0.8, but its backbone ignores it: 0.2 was in effect.
# Full precision: mixed precision was unstable.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/schedule_160k_no_norm_decay.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        type='mmvmamba.MambaVision',
        arch='L3_512',
        window_size=(64, 32),
        drop_path_rate=0.2,
        out_indices=(0, 1, 2, 3),
        out_norm='LN2d',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://nvidia/MambaVision-L3-512-21K/mambavision_L3_21k_740m_512.pth.tar',
        ),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=8e-5, weight_decay=0.05))
train_cfg = dict(val_interval=5000)
