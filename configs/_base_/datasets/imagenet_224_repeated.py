# ImageNet-1k with repeated augmentation: three versions of a third of the images in an epoch.
_base_ = './imagenet_224.py'

train_dataloader = dict(sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True))
