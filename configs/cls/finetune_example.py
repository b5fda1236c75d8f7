# Fine-tuning MambaOut-Femto on a folder of one's own images, data/my_images/{train,val}/<class>/*.
# See docs/finetune.md. Change the four lines below; the learning rate suits 256 images a step.
# Train: python tools/train.py configs/cls/finetune_example.py
_base_ = './mambaout_femto_in1k.py'

data_root = 'data/my_images'
num_classes = 10
batch_size = 64
epochs = 30

model = dict(
    backbone=dict(
        frozen_stages=-1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/yuweihao/MambaOut/releases/download/model/mambaout_femto.pth',
        ),
    ),
    head=dict(num_classes=num_classes),
)
data_preprocessor = dict(num_classes=num_classes)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root=data_root,
        data_prefix='val',
        pipeline={{_base_.test_pipeline}},
    ),
)
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=2.5e-4), accumulative_counts=256 // batch_size)
param_scheduler = dict(length=epochs, warmup=min(3, epochs), start_ratio=0.01, min_ratio=0.01)
train_cfg = dict(max_epochs=epochs)
auto_scale_lr = dict(base_batch_size=256)
