# The schedule of PlainMamba's segmentors: what has no weight decay, and BatchNorm over all GPUs.
_base_ = './schedule_160k.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'norm': dict(decay_mult=0.0),
            'pos_block': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0),
            '.absolute_pos_embed': dict(decay_mult=0.0),
            '.relative_position_bias_table': dict(decay_mult=0.0),
            '.A_log': dict(decay_mult=0.0),
            '.D': dict(decay_mult=0.0),
            '.direction_Bs': dict(decay_mult=0.0),
        }
    )
)
sync_bn = 'torch'
