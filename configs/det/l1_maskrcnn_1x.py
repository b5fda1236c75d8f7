# PlainMamba-Adapter-L1, Mask R-CNN, COCO 1x.
# Recipe: https://github.com/ChenhongyiYang/PlainMamba, configs of its detection part; 8 GPUs x 2
# images. Train: tools/dist_train.sh configs/det/l1_maskrcnn_1x.py 8
# Published box AP 44.1, mask AP 39.1; not yet reproduced here.
_base_ = [
    '../_base_/models/mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/plain_mamba_1x.py',
    '../_base_/default_runtime_det.py',
]
norm_cfg = dict(type='SyncBN', requires_grad=True)
# The BatchNorm layers of the stem count over all GPUs as well.
sync_bn = 'torch'

model = dict(
    backbone=dict(
        type='mmvmamba.PlainMambaAdapter',
        arch='L1',
        drop_path_rate=0.1,
        adapter=dict(norm_cfg=norm_cfg),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='hf://ChenhongyiYang/PlainMamba/l1.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=[192, 192, 192, 192], norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg)
    ),
)
