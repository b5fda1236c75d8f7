# MambaOut-Base, ImageNet-1k.
# Recipe: https://github.com/yuweihao/MambaOut; 300 + 10 epochs, 4096 images a step, fp32.
# Train: tools/dist_train.sh configs/cls/mambaout_base_in1k.py 8
# Published top-1 84.2; not yet reproduced here.
_base_ = './mambaout_femto_in1k.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.6),
    neck=dict(in_channels=768),
    head=dict(in_channels=3072),
)
