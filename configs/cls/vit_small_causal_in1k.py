# DeiT-Small with causal attention and the class token last, ImageNet-1k.
# Recipe: DeiT's; 300 epochs, 8 GPUs x 128 images. One half of the experiment in Fig. 3b of
# https://arxiv.org/abs/2405.07992; the other is vit_small_visible_in1k.py.
# Train: tools/dist_train.sh configs/cls/vit_small_causal_in1k.py 8
# Published top-1 78.9; not yet reproduced here.
_base_ = './vit_small_visible_in1k.py'

model = dict(backbone=dict(causal=True))
