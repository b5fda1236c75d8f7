_base_ = './default_runtime.py'

custom_imports = dict(imports=['mmvmamba', 'mmvmamba.models.segmentors'])

default_scope = 'mmseg'
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=8000, save_best='mIoU', rule='greater'),
    class_check=dict(type='mmvmamba.ClassCheckHook'),
    label_range=dict(type='mmvmamba.LabelRangeHook'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(
    type='SegLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')]
)
