# MambaOut small_rw, one of timm's variants, ImageNet-1k.
# Recipe: timm's, not published in full; this config is for testing its weights.
# Test: tools/dist_test.sh configs/cls/mambaout_small_rw_in1k.py CHECKPOINT 8 --eval accuracy
# Top-1 as measured by timm 84.024; not yet reproduced here.
_base_ = './mambaout_femto_in1k.py'

model = dict(
    backbone=dict(arch='small_rw', drop_path_rate=0.0),
    neck=dict(in_channels=576, with_inner_norm=False),
    head=dict(in_channels=2304),
)
