# MambaVision-T2, ImageNet-1k.
# Recipe: the release's; 310 + 10 epochs, 32 GPUs x 128 images, fp16, LAMB and MESA.
# Train: tools/dist_train.sh configs/cls/mambavision_t2_in1k.py 32
# Published top-1 82.7; not yet reproduced here.
_base_ = './mambavision_t_in1k.py'

model = dict(
    mesa_weight=0.75,
    backbone=dict(arch='T2'),
)
test_pipeline = [
    {{_base_.load_image}},
    dict(type='ResizeEdge', scale=228, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
