_base_ = '../../_base_/default_runtime_det.py'

default_hooks = dict(logger=dict(interval=10))
