# The real classifier with six classes, without mixed images: few steps need plain labels.
_base_ = '../../../_base_/models/classifier.py'

model = dict(head=dict(num_classes=6), train_cfg=None)
data_preprocessor = dict(num_classes=6)
