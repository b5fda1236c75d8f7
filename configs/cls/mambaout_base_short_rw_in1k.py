# MambaOut base_short_rw, one of timm's variants, ImageNet-1k.
# Recipe: timm's, not published in full; this config is for testing its weights.
# Test: tools/dist_test.sh configs/cls/mambaout_base_short_rw_in1k.py CHECKPOINT 8 --eval accuracy
# Top-1 as measured by timm 84.362; not yet reproduced here.
_base_ = './mambaout_femto_in1k.py'

model = dict(
    backbone=dict(arch='base_short_rw', drop_path_rate=0.0),
    neck=dict(in_channels=768, with_inner_norm=False),
    head=dict(in_channels=3072),
)
test_pipeline = [
    {{_base_.load_image}},
    dict(type='ResizeEdge', scale=235, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
