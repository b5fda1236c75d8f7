# MambaVision-B, pre-trained on ImageNet-21K, ImageNet-1k at 224 pixels.
# Recipe: not released; this config is for testing the official weights.
# Test: tools/dist_test.sh configs/cls/mambavision_b_21k_in1k.py CHECKPOINT 8 --eval accuracy
# Published top-1 84.9; not yet reproduced here.
_base_ = './mambavision_b_in1k.py'
