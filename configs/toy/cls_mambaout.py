# MambaOut as a classifier, small enough for a laptop: the real experiment with another
# size, other data and another schedule.
# Data:  the commands are in configs/toy/_base_/classification.py
# Train: python tools/train.py configs/toy/cls_mambaout.py
_base_ = ['../cls/mambaout_femto_in1k.py', './_base_/classification.py']

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(24, 48, 64, 96)), drop_path_rate=0.0
    ),
    neck=dict(in_channels=96),
    head=dict(in_channels=384, num_classes=6),
    train_cfg=None,
)
data_preprocessor = {{_base_.toy.data_preprocessor}}
train_dataloader = {{_base_.toy.train_dataloader}}
val_dataloader = {{_base_.toy.val_dataloader}}
test_dataloader = val_dataloader
optim_wrapper = {{_base_.toy.optim_wrapper}}
param_scheduler = {{_base_.toy.param_scheduler}}
train_cfg = {{_base_.toy.train_cfg}}
auto_scale_lr = {{_base_.toy.auto_scale_lr}}
default_hooks = {{_base_.toy.default_hooks}}
