# A share of parameters, gradients and optimizer states on each process: torch's fully_shard, block
# by block. Averages of weights (EMAHook) are not possible with it.
runner_type = 'mmvmamba.FlexibleRunner'
strategy = dict(type='mmvmamba.FSDPStrategy')
