# Vim-S, ImageNet-1k.
# Recipe: https://github.com/hustvl/Vim; 300 epochs, 8 GPUs x 64 images, fp32.
# Train: tools/dist_train.sh configs/cls/vim_small_in1k.py 8
# Published top-1 80.5; not yet reproduced here.
_base_ = './vim_tiny_in1k.py'

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.05),
    head=dict(in_channels=384),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
auto_scale_lr = dict(base_batch_size=512)
