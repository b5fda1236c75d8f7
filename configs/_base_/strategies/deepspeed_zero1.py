# A whole model on each process, a share of the optimizer's states: ZeRO, stage 1, by DeepSpeed,
# which is installed by itself (pip install deepspeed).
runner_type = 'mmvmamba.FlexibleRunner'
strategy = dict(type='mmvmamba.DeepSpeedStrategy', stage=1)
