# Spatial-Mamba-S, ImageNet-1k.
# Recipe: https://github.com/EdwardChasel/Spatial-Mamba; 300 epochs, 8 GPUs x 128 images, MESA.
# Train: tools/dist_train.sh configs/cls/spatial_mamba_small_in1k.py 8
# Published top-1 84.6; not yet reproduced here.
_base_ = './spatial_mamba_tiny_in1k.py'

model = dict(
    mesa_weight=1.5,
    backbone=dict(arch='small', drop_path_rate=0.3),
)
