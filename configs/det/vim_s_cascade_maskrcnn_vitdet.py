# Vim-S, Cascade Mask R-CNN in the manner of ViTDet, COCO, 100 epochs.
# Recipe: as vim_t_cascade_maskrcnn_vitdet.py. Nothing is published for this size.
# Train: tools/dist_train.sh configs/det/vim_s_cascade_maskrcnn_vitdet.py 8
_base_ = './vim_t_cascade_maskrcnn_vitdet.py'

model = dict(
    backbone=dict(
        arch='small',
        init_cfg=dict(checkpoint='hf://hustvl/Vim-small-midclstok/vim_s_midclstok_80p5acc.pth'),
    ),
    neck=dict(in_channels=384),
)
