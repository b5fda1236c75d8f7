# MambaOut test, timm's variant for trying things out, ImageNet-1k at 160 pixels in the test.
# Recipe: that of mambaout_femto_in1k.py; none was published for this size.
# Train: tools/dist_train.sh configs/cls/mambaout_test_in1k.py 8
# No published top-1.
_base_ = './mambaout_femto_in1k.py'

model = dict(
    backbone=dict(arch='test', drop_path_rate=0.0),
    neck=dict(in_channels=64, with_inner_norm=False),
    head=dict(in_channels=256),
)
test_pipeline = [
    {{_base_.load_image}},
    dict(type='ResizeEdge', scale=160, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=160),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
