# The real UperNet with five classes and narrow heads.
_base_ = '../../../_base_/models/upernet.py'
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    decode_head=dict(channels=32, num_classes=5, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=32, num_classes=5, norm_cfg=norm_cfg),
)
