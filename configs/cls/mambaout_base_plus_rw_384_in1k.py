# MambaOut base_plus_rw at 384 pixels, one of timm's variants, ImageNet-1k.
# Recipe: timm's, not published in full; this config is for testing its weights.
# Test: tools/dist_test.sh configs/cls/mambaout_base_plus_rw_384_in1k.py CKPT 8 --eval accuracy
# Top-1 as measured by timm 87.506; not yet reproduced here.
_base_ = './mambaout_base_plus_rw_in1k.py'

test_pipeline = [
    {{_base_.load_image}},
    dict(type='Resize', scale=(384, 384), backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=384),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
