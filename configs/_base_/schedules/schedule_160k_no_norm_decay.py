# Parameters whose names contain `norm` have no weight decay; all others have it.
_base_ = './schedule_160k.py'

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}))
