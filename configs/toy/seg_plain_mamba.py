# PlainMamba as a segmentor, small enough for a laptop: the real experiment with another
# size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only ade20k
# Train: python tools/train.py configs/toy/seg_plain_mamba.py
_base_ = ['../seg/l1_upernet.py', './_base_/segmentation.py']

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor={{_base_.toy.data_preprocessor}},
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_convs=0, layers_with_dwconv=(0,)),
        img_size=96,
        patch_size=8,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    decode_head=dict(in_channels=[64, 64, 64, 64], channels=32, num_classes=5, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=64, channels=32, num_classes=5, norm_cfg=norm_cfg),
)
tta_pipeline = {{_base_.toy.tta_pipeline}}
train_dataloader = {{_base_.toy.train_dataloader}}
val_dataloader = {{_base_.toy.val_dataloader}}
test_dataloader = val_dataloader
optim_wrapper = {{_base_.toy.optim_wrapper}}
param_scheduler = {{_base_.toy.param_scheduler}}
train_cfg = {{_base_.toy.train_cfg}}
auto_scale_lr = {{_base_.toy.auto_scale_lr}}
default_hooks = {{_base_.toy.default_hooks}}
