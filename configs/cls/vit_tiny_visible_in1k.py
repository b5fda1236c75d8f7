# DeiT-Tiny, every token visible to every other, ImageNet-1k.
# Recipe: DeiT's; 300 epochs, 8 GPUs x 128 images. One half of the experiment in Fig. 3b of
# https://arxiv.org/abs/2405.07992; the other is vit_tiny_causal_in1k.py.
# Train: tools/dist_train.sh configs/cls/vit_tiny_visible_in1k.py 8
# Published top-1 72.2; not yet reproduced here.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_224_repeated.py',
    '../_base_/schedules/deit_300e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VisionTransformerCausal',
        arch='deit_tiny',
        causal=False,
        out_type='cls_token',
        drop_path_rate=0.1,
    ),
    head=dict(in_channels=192),
)
param_scheduler = dict(start_ratio=1e-3, min_ratio=1e-2, shift=0)
