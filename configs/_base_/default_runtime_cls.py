_base_ = './default_runtime.py'

custom_imports = dict(imports=['mmvmamba', 'mmvmamba.models.classifiers'])

default_scope = 'mmpretrain'
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best='accuracy/top1', rule='greater'),
    class_check=dict(type='mmvmamba.ClassCheckHook'),
)
visualizer = dict(
    type='UniversalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')]
)
