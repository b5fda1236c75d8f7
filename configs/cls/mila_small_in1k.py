# MILA-S, ImageNet-1k.
# Recipe: https://github.com/LeapLabTHU/MLLA; 300 epochs, 32 GPUs x 128 images, fp16, MESA.
# Train: tools/dist_train.sh configs/cls/mila_small_in1k.py 32
# Published top-1 84.4; not yet reproduced here.
_base_ = './mila_tiny_in1k.py'

model = dict(
    mesa_weight=1.5,
    backbone=dict(arch='small', drop_path_rate=0.3),
)
