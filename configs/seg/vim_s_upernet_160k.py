# Vim-S, UperNet, ADE20K, 160k steps: the recipe that the paper's text gives.
# Recipe: https://arxiv.org/abs/2401.09417; 8 GPUs x 2 images.
# Train: tools/dist_train.sh configs/seg/vim_s_upernet_160k.py 8
# The published mIoU belongs to vim_s_upernet_60k.py, the recipe of the code; of this one nothing is
# known.
_base_ = './vim_s_upernet_60k.py'

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
)
train_cfg = dict(max_iters=160000, val_interval=8000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=0, end=160000),
]
train_dataloader = dict(batch_size=2)
default_hooks = dict(checkpoint=dict(interval=8000))
auto_scale_lr = dict(base_batch_size=16)
