# MambaVision-L2, ImageNet-1k.
# Recipe: the release's; 310 + 10 epochs, 32 GPUs x 128 images, fp16, LAMB and MESA.
# Train: tools/dist_train.sh configs/cls/mambavision_l2_in1k.py 32
# Published top-1 85.3; not yet reproduced here.
_base_ = './mambavision_l_in1k.py'

model = dict(backbone=dict(arch='L2'))
