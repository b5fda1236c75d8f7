_base_ = './default_runtime.py'

custom_imports = dict(imports=['mmvmamba', 'mmvmamba.models.detectors'])

default_scope = 'mmdet'
visualizer = dict(
    type='DetLocalVisualizer', name='visualizer', vis_backends=[dict(type='LocalVisBackend')]
)
