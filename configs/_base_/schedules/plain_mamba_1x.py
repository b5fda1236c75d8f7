# schedule_1x with what the PlainMamba detectors leave without weight decay: names that contain one
# of these.
_base_ = './schedule_1x.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'level_embed': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
            'bias': dict(decay_mult=0.0),
            '.A_log': dict(decay_mult=0.0),
            '.D': dict(decay_mult=0.0),
            '.direction_Bs': dict(decay_mult=0.0),
        }
    )
)
