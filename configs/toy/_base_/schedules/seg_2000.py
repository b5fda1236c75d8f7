# Maps of several strides take longer to learn than those of one.
_base_ = './seg_800.py'
steps = 2000

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=30, end=steps),
]
train_cfg = dict(max_iters=steps, val_interval=steps)
