# 300 epochs for 4096 images a step, 32 GPUs x 128, as the published models were trained: a cosine
# whose first 20 epochs are cut out by the warm-up. On fewer GPUs give --auto-scale-lr.
_base_ = './vmamba_300e.py'

optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = dict(
    _delete_=True,
    type='mmvmamba.WarmupCosineLR',
    length=300,
    warmup=20,
    start_ratio=1e-3,
    min_ratio=1e-2,
    convert_to_iter_based=True,
)
auto_scale_lr = dict(base_batch_size=4096)
