# Vim-Ti with an adapter, Mask R-CNN, COCO 1x.
# Recipe: that of the PlainMamba detectors; 8 GPUs x 2 images. Nothing is published for this pair.
# Train: tools/dist_train.sh configs/det/vim_t_maskrcnn_1x.py 8
_base_ = './l1_maskrcnn_1x.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvmamba.VimAdapter',
        arch='tiny',
        drop_path_rate=0.1,
        adapter=dict(norm_cfg=dict(type='SyncBN', requires_grad=True)),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://hustvl/Vim-tiny-midclstok/vim_t_midclstok_76p1acc.pth',
        ),
    ),
)
