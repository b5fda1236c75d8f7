# Generated shapes of six classes in databases, 32 x 32.
# Data, in two steps; the second one also for val in place of train:
# python tools/dataset_converters/make_toy_data.py --only imagenet --num-train 4800 --num-val 240
# python tools/dataset_converters/create_lmdb_dataset.py create data/toy/imagenet/train \
#     data/toy/imagenet/train.lmdb
_base_ = '../../../_base_/datasets/imagenet_224.py'
data_root = 'data/toy/imagenet'
load = [
    {{_base_.load_image}},
    dict(type='Resize', scale=(32, 32), backend='pillow', interpolation='bilinear'),
]

train_pipeline = [*load, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
test_pipeline = [*load, dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=24, num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=60, num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
