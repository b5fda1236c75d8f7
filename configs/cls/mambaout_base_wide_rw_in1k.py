# MambaOut base_wide_rw, one of timm's variants, ImageNet-1k.
# Recipe: timm's, not published in full; this config is for testing its weights.
# Test: tools/dist_test.sh configs/cls/mambaout_base_wide_rw_in1k.py CHECKPOINT 8 --eval accuracy
# Top-1 as measured by timm 84.454; not yet reproduced here.
_base_ = './mambaout_base_short_rw_in1k.py'

model = dict(backbone=dict(arch='base_wide_rw'))
