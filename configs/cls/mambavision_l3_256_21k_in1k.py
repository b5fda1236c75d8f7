# MambaVision-L3-256, pre-trained on ImageNet-21K, ImageNet-1k at 256 pixels.
# Recipe: not released; this config is for testing the official weights.
# Test: tools/dist_test.sh configs/cls/mambavision_l3_256_21k_in1k.py CHECKPOINT 8 --eval accuracy
# Published top-1 87.3; not yet reproduced here.
_base_ = './mambavision_l_in1k.py'

model = dict(backbone=dict(arch='L3_256', drop_path_rate=0.5), head=dict(in_channels=2048))
test_pipeline = [
    {{_base_.load_image}},
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=256),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
