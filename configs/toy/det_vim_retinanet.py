# RetinaNet on Vim with an adapter, small enough for a laptop: the real experiment with another
# size, other data and another schedule.
# Data:  python tools/dataset_converters/make_toy_data.py --only coco
# Train: python tools/train.py configs/toy/det_vim_retinanet.py
_base_ = ['../det/vim_t_retinanet_1x.py', './_base_/detection.py']

model = dict(
    data_preprocessor=_base_.toy.data_preprocessor,
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4),
        img_size=128,
        drop_path_rate=0.0,
        adapter=dict(
            conv_inplane=16,
            deform_num_heads=4,
            norm_cfg=_base_.toy.norm_cfg,
        ),
        init_cfg=None,
    ),
    neck=dict(in_channels=[64, 64, 64, 64], **_base_.toy.retinanet_neck),
    bbox_head=_base_.toy.bbox_head,
)
train_dataloader = _base_.toy.train_dataloader
val_dataloader = _base_.toy.val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.toy.val_evaluator
test_evaluator = val_evaluator
tta_pipeline = _base_.toy.tta_pipeline
optim_wrapper = _base_.toy.optim_wrapper
param_scheduler = _base_.toy.param_scheduler
train_cfg = _base_.toy.train_cfg
auto_scale_lr = _base_.toy.auto_scale_lr
default_hooks = _base_.toy.default_hooks
