# MambaOut-Femto, ImageNet-1k.
# Recipe: https://github.com/yuweihao/MambaOut; 300 + 10 epochs, 4096 images a step, fp32.
# Train: tools/dist_train.sh configs/cls/mambaout_femto_in1k.py 8
# Published top-1 78.9; not yet reproduced here.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_224_random_interpolation.py',
    '../_base_/schedules/mambaout_310e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(type='mmvmamba.MambaOut', arch='femto', drop_path_rate=0.025, out_indices=(3,)),
    neck=dict(type='mmvmamba.MambaOutNeck', in_channels=288),
    head=dict(in_channels=1152),
)
