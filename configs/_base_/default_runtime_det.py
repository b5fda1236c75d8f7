_base_ = './default_runtime.py'

custom_imports = dict(imports=['mmvmamba', 'mmvmamba.models.detectors'])

default_scope = 'mmdet'
default_hooks = dict(class_check=dict(type='mmvmamba.ClassCheckHook'))
visualizer = dict(
    type='DetLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')]
)
