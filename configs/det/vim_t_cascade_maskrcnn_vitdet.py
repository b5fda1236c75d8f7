# Vim-Ti, Cascade Mask R-CNN in the manner of ViTDet, COCO, 100 epochs.
# Recipe: https://github.com/hustvl/Vim, the config of its detection part that its scripts use;
# 64 images a step, here 8 GPUs x 8. No weight decay for pos_embed alone.
# Train: tools/dist_train.sh configs/det/vim_t_cascade_maskrcnn_vitdet.py 8
# Published box AP 45.7, mask AP 39.2 (from weights of the first release that are not public,
# without division of the two directions by 2); not yet reproduced here.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_vitdet.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/vitdet_100ep.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        type='mmvmamba.VisionMamba',
        arch='tiny',
        img_size=1024,
        class_token='none',
        use_rope=True,
        last_layer_process='add',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://hustvl/Vim-tiny-midclstok/vim_t_midclstok_76p1acc.pth',
        ),
    ),
    neck=dict(in_channels=192),
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
log_processor = dict(by_epoch=False)
