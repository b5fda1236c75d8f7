# PlainMamba-L1, ImageNet-1k.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba; 300 epochs, 8 GPUs x 256 images, fp16.
# Train: tools/dist_train.sh configs/cls/plain_mamba_l1_in1k.py 8
# Published top-1 77.9; not yet reproduced here.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/plain_mamba_300e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(type='mmvmamba.PlainMamba', arch='L1', drop_path_rate=0.2),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        in_channels=192,
        init_cfg=dict(type='Normal', layer='Linear', std=0.01, bias=0.0, _delete_=True),
    ),
)
train_dataloader = dict(batch_size=256, num_workers=4)
optim_wrapper = dict(type='mmvmamba.FiniteAmpOptimWrapper', clip_grad=dict(max_norm=5.0))
param_scheduler = dict(warmup=15)
default_hooks = dict(checkpoint=dict(interval=5))
