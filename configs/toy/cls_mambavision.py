# MambaVision as a classifier, small enough for a laptop: the real experiment with another
# size, other data and another schedule.
# Data:  the commands are in configs/toy/_base_/classification.py
# Train: python tools/train.py configs/toy/cls_mambavision.py
_base_ = ['../cls/mambavision_t_in1k.py', './_base_/classification.py']

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            dim=16,
            in_dim=16,
            depths=(1, 1, 2, 2),
            num_heads=(4, 8),
            window_size=(4, 2),
        ),
        drop_path_rate=0.0,
    ),
    head=dict(in_channels=128, num_classes=6),
    train_cfg=None,
)
custom_hooks = [
    dict(
        type='mmvmamba.MesaEMAHook',
        start_epoch=3,
        momentum=0.02,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    )
]
data_preprocessor = {{_base_.toy.data_preprocessor}}
train_dataloader = {{_base_.toy.train_dataloader}}
val_dataloader = {{_base_.toy.val_dataloader}}
test_dataloader = val_dataloader
optim_wrapper = {{_base_.toy.optim_wrapper}}
param_scheduler = {{_base_.toy.param_scheduler}}
train_cfg = {{_base_.toy.train_cfg}}
auto_scale_lr = {{_base_.toy.auto_scale_lr}}
default_hooks = {{_base_.toy.default_hooks}}
