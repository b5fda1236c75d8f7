_base_ = '../../_base_/default_runtime_seg.py'

default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=-1, save_last=True))
