# Vision Mamba as a classifier, small enough for a laptop: the real experiment with another
# size, other data and another schedule.
# Data:  the commands are in configs/toy/_base_/classification.py
# Train: python tools/train.py configs/toy/cls_vim.py
_base_ = ['../cls/vim_tiny_in1k.py', './_base_/classification.py']

model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=64, num_layers=4), img_size=32, patch_size=8),
    head=dict(in_channels=64, num_classes=6),
    train_cfg=None,
)
# An average over so few steps would be the weights of the start.
custom_hooks = []
data_preprocessor = {{_base_.toy.data_preprocessor}}
train_dataloader = {{_base_.toy.train_dataloader}}
val_dataloader = {{_base_.toy.val_dataloader}}
test_dataloader = val_dataloader
optim_wrapper = {{_base_.toy.optim_wrapper}}
# The class token learns more slowly than a mean over the patches: 8 epochs in place of 5.
param_scheduler = dict(
    _delete_=True,
    type='mmvmamba.WarmupCosineLR',
    length=8,
    warmup=1,
    start_ratio=0.01,
    min_ratio=0.01,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=8, val_interval=8)
auto_scale_lr = {{_base_.toy.auto_scale_lr}}
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=8))
