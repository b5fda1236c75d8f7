# What every experiment shares. default_runtime_det.py and its siblings add the task's scope and
# visualizer. This import comes first: it provides what mmdet and mmseg need of mmcv.
custom_imports = dict(imports=['mmvmamba'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='mmvmamba.CheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # A resumed run draws the same random numbers as one that was not stopped.
    step_seed=dict(type='mmvmamba.StepSeedHook'),
    finite_weights=dict(type='mmvmamba.FiniteWeightsHook'),
    # On a GPU, says what is compiled before the first step.
    kernel_warmup=dict(type='mmvmamba.KernelWarmupHook'),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
