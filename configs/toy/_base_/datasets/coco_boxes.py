# The same data for a detector without masks.
_base_ = './coco.py'

train_dataloader = dict(dataset=dict(filter_cfg=dict(filter_empty_gt=True)))
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
