# VMamba-T (s2l5), ImageNet-1k.
# Recipe: https://github.com/MzeroMiko/VMamba; 300 epochs, 8 GPUs x 128 images, fp16.
# Train: tools/dist_train.sh configs/cls/vmamba_tiny_s2l5_in1k.py 8
# Published top-1 82.5; not yet reproduced here.
_base_ = './vmamba_tiny_s1l8_in1k.py'

model = dict(backbone=dict(arch='tiny_s2l5', drop_path_rate=0.2))
