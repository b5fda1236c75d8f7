# A whole model on each process, by mmengine's FlexibleRunner; without a strategy file, Runner does
# the same.
runner_type = 'mmvmamba.FlexibleRunner'
strategy = dict(type='mmvmamba.DDPStrategy')
