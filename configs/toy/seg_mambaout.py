# MambaOut as a segmentor, small enough for a laptop: the real experiment with another
# size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only ade20k
# Train: python tools/train.py configs/toy/seg_mambaout.py
_base_ = ['../seg/mambaout_t_upernet_160k.py', './_base_/segmentation.py']

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor={{_base_.toy.data_preprocessor}},
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(24, 48, 64, 96)),
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    decode_head=dict(in_channels=[24, 48, 64, 96], channels=32, num_classes=5, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=64, channels=32, num_classes=5, norm_cfg=norm_cfg),
)
tta_pipeline = {{_base_.toy.tta_pipeline}}
train_dataloader = {{_base_.toy.train_dataloader}}
val_dataloader = {{_base_.toy.val_dataloader}}
test_dataloader = val_dataloader
optim_wrapper = {{_base_.toy.optim_wrapper}}
# Maps of several strides take longer to learn than those of one.
steps = 2000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=30, end=steps),
]
train_cfg = dict(max_iters=steps, val_interval=steps)
auto_scale_lr = {{_base_.toy.auto_scale_lr}}
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=steps))
