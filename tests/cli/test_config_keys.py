"""Keys of a config that nothing reads are found before the run, and no others."""

from functools import reduce
from pathlib import Path

import pytest
from mmengine.config import Config

from mmvmamba.cli.config_keys import unknown_keys
from mmvmamba.cli.configs import load_config
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.signatures import arguments_of

ROOT = Path(__file__).parents[2] / 'configs'
FILES = {
    'cls': ROOT / 'cls/mambaout_femto_in1k.py',
    'det': ROOT / 'det/l1_maskrcnn_1x.py',
    'seg': ROOT / 'seg/l1_upernet.py',
}


def message(task, **options):
    with pytest.raises(UserError) as caught:
        load_config(str(FILES[task]), {key.replace('__', '.'): v for key, v in options.items()})
    return str(caught.value)


MISSPELT = {
    'det': {
        'train_dataloader.batchsize': 'batch_size',
        'train_dataloader.sampler.shufle': 'shuffle',
        'optim_wrapper.optimizer.lrr': 'lr',
        'optim_wrapper.clip_grads': 'clip_grad',
        'model.backbone.drop_path': 'drop_path_rate',
        'param_scheduler.0.start_facto': 'start_factor',
        'default_hooks.checkpoint.intervall': 'interval',
        'env_cfg.cudnn_bench': 'cudnn_benchmark',
        'randomness.sed': 'seed',
        'auto_scale_lr.base_batchsize': 'base_batch_size',
        'train_dataloadr.batch_size': 'train_dataloader',
        'train_cfg.max_epoch': 'max_epochs',
        'val_evaluator.metrics': 'metric',
    },
    'seg': {'train_cfg.max_iter': 'max_iters', 'train_dataloader.dataset.pipline': 'pipeline'},
    'cls': {'train_cfg.max_epoch': 'max_epochs', 'model.head.num_class': 'num_classes'},
}


@pytest.mark.parametrize(
    ('task', 'key', 'right'),
    [(task, *pair) for task, pairs in MISSPELT.items() for pair in pairs.items()],
)
def test_a_misspelt_key_is_answered_with_the_nearest(task, key, right):
    said = message(task, **{key: 1})
    assert key in said
    assert said.endswith((f'did you mean {right!r}?', f'the nearest key is {right!r}'))


@pytest.mark.parametrize('task', FILES)
def test_a_misspelt_key_in_the_file_is_found_as_well(task, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{FILES[task]}'\ntrain_dataloader = dict(batchsize=2)\n")
    with pytest.raises(UserError) as caught:
        load_config(str(path))
    assert str(caught.value) == (
        f"{path}: unknown key 'train_dataloader.batchsize'; did you mean 'batch_size'?"
    )


def test_an_option_that_nothing_reads_is_refused():
    assert message('det', foo__bar=1).startswith("--cfg-options foo.bar: nothing reads 'foo';")
    said = message('det', model__neck__colour='red')
    assert "unknown key 'model.neck.colour'; there are act_cfg, add_extra_convs," in said


def test_a_key_of_mmcv_1_is_answered_with_what_there_is_now(tmp_path):
    assert message('det', data__samples_per_gpu=4) == (
        "--cfg-options data.samples_per_gpu: nothing reads 'data'; it was one of mmcv 1, set "
        'train_dataloader, val_dataloader and test_dataloader'
    )
    path = tmp_path / 'config.py'
    path.write_text("optimizer = dict(type='SGD')\nlr_config = dict(policy='step', step=[8, 11])\n")
    with pytest.raises(UserError, match=r"unknown key 'lr_config'; .*mmcv 1, set param_scheduler"):
        load_config(str(path))
    # A variable that the file uses is none.
    path.write_text('total_epochs = 7\ntrain_cfg = dict(by_epoch=True, max_epochs=total_epochs)\n')
    assert load_config(str(path)).train_cfg.max_epochs == 7


def test_a_variable_of_the_file_that_is_already_used_is_refused(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        "root = 'data/x'\ntrain_dataloader = dict(dataset=dict(data_root=root))\nspare = 3\n"
    )
    with pytest.raises(UserError, match=r"used up 'root'.*: train_dataloader.dataset.data_ro"):
        load_config(str(path), {'root': 'data/y'})
    assert load_config(str(path), {'spare': 4}).spare == 4


@pytest.mark.parametrize(
    ('task', 'key'),
    [
        ('det', 'load_from'),
        ('det', 'randomness.seed'),
        ('det', 'train_dataloader.pin_memory'),
        ('det', 'optim_wrapper.accumulative_counts'),
        ('det', 'optim_wrapper.optimizer.amsgrad'),
        ('det', 'model.backbone.frozen_stages'),
        ('det', 'model.backbone.init_cfg.checkpoint'),
        ('det', 'model.test_cfg.rcnn.anything'),
        ('det', 'train_cfg.dynamic_intervals'),
        ('det', 'default_hooks.checkpoint.save_best'),
        ('det', 'default_hooks.checkpoint.priority'),
        ('det', 'optim_wrapper.paramwise_cfg.anything'),
        ('seg', 'train_dataloader.dataset.serialize_data'),
        ('cls', 'model.head.topk'),
    ],
)
def test_a_new_key_that_its_parent_takes_is_allowed(task, key):
    cfg = load_config(str(FILES[task]), {key: 1})
    assert reduce(lambda part, name: part[name], key.split('.'), cfg) == 1


def test_keys_that_resemble_others_may_be_variables():
    assert not [*unknown_keys(Config(dict(my_scale=1, model={}, val_pipeline=[])))]


@pytest.mark.parametrize(
    'name',
    [
        'mmdet/.mim/configs/detr/detr_r50_8xb2-150e_coco.py',  # loss_cls.bg_cls_weight
        'mmdet/.mim/configs/vfnet/vfnet_r50_fpn_1x_coco.py',  # super() of another class
        'mmpretrain/.mim/configs/resnet/resnet50_8xb256-rsb-a1-600e_in1k.py',  # magnitude_key
    ],
)
def test_what_an_owner_takes_out_is_no_fault(name):
    import mmdet

    path = Path(mmdet.__file__).parents[1] / name
    assert not [*unknown_keys(Config.fromfile(path))]


class _Base:
    def __init__(self, colour=None):
        self.colour = colour


class _Open(_Base):
    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size


class _Taking(_Base):
    def __init__(self, size, **others):
        self.shape = others.pop('shape', None)
        super().__init__(**others)
        self.size = size


class _Swallowing(_Base):
    def __init__(self, size, **kwargs):
        super().__init__()
        self.size = size


@pytest.mark.parametrize(
    ('target', 'names', 'is_complete'),
    [
        (_Base, {'colour'}, True),
        (_Open, {'size', 'colour'}, True),
        (_Taking, {'size'}, False),
        (_Swallowing, {'size'}, False),
        (dict, set(), False),
        (lambda a, *, b=1: None, {'a', 'b'}, True),
        (lambda a, **rest: None, {'a'}, False),
    ],
)
def test_arguments_are_read_from_signatures(target, names, is_complete):
    arguments = arguments_of(target)
    assert (set(arguments.names), arguments.is_complete) == (names, is_complete)
