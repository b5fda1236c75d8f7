# MambaVision-T, ImageNet-1k.
# Recipe: the release's; 310 + 10 epochs, 32 GPUs x 128 images, fp16, LAMB and MESA.
# Train: tools/dist_train.sh configs/cls/mambavision_t_in1k.py 32
# Published top-1 82.3; not yet reproduced here.
_base_ = [
    '../_base_/models/classifier.py',
    '../_base_/datasets/imagenet_224_random_interpolation.py',
    '../_base_/schedules/mambavision_320e.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    type='mmvmamba.MesaClassifier',
    mesa_weight=0.5,
    backbone=dict(
        type='mmvmamba.MambaVision',
        arch='T',
        drop_path_rate=0.2,
        out_indices=(3,),
        final_norm=True,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=640),
)
custom_hooks = [
    # The teacher comes in after a quarter of the cosine.
    dict(
        type='mmvmamba.MesaEMAHook',
        start_epoch=78,
        momentum=2e-4,
        update_buffers=True,
        priority='ABOVE_NORMAL',
    )
]
