"""Forecasts of memory: equal to what is counted with data, and close to what a process takes."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis.allocation import AllocationCount
from mmvmamba.apis.blank_batches import training_shape
from mmvmamba.apis.memory import (
    ACTIVATIONS,
    GRADIENTS,
    KINDS,
    OPTIMIZER,
    WEIGHTS,
    TrainingStep,
    forecast_memory,
)
from mmvmamba.engine.strategies.fsdp import shard_units

pytest.importorskip('mmpretrain')
ROOT = Path(__file__).parents[2]
TOYS = ROOT / 'configs/toy'
CLASSIFIER = TOYS / 'cls_mambaout.py'
OTHERS = [
    pytest.param(TOYS / f'{name}.py', marks=pytest.mark.slow)
    for name in ('cls_vim', 'det_mambaout_maskrcnn', 'seg_mila')
]


def toy(path=CLASSIFIER, **changes):
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(changes)
    return cfg


def test_what_is_held_at_the_same_time_is_counted():
    x = torch.zeros(1000)
    count = AllocationCount('rest', {'half': 0.5})
    with count:
        count.add([x], 'half')
        y = x + 1
        z = y[:500]  # no memory of its own
        del y
        assert count.alive == {'half': 4000, 'rest': 4000}
        del z
        gc.collect()
        x * 2
    assert count.alive['rest'] == 0
    assert count.peak == {'half': 4000, 'rest': 4000}
    count.begin_anew()
    assert count.largest['rest'] == 0


@pytest.mark.parametrize('path', [CLASSIFIER, *OTHERS], ids=lambda path: path.stem)
def test_a_step_without_data_counts_as_one_with_data(path):
    shape = training_shape(toy(path))
    forecast = forecast_memory(toy(path), batch_size=2)
    step = TrainingStep(toy(path), 2, shape)
    count = AllocationCount(ACTIVATIONS)
    step.run_counted(count)
    assert (forecast.shape, forecast.batch_size) == (shape, 2)
    assert forecast.largest[WEIGHTS] == sum(x.numel() * 4 for x in step.model.parameters()) + sum(
        x.numel() * x.element_size() for x in step.model.buffers()
    )
    # AdamW keeps two numbers for each that is trained.
    assert forecast.largest[OPTIMIZER] == pytest.approx(2 * forecast.largest[GRADIENTS], rel=0.01)
    for kind in KINDS:
        assert forecast.largest[kind] == pytest.approx(count.largest[kind], rel=0.02), kind
    assert forecast.peak == pytest.approx(sum(count.peak.values()), rel=0.02)


@pytest.fixture(scope='module')
def plain():
    """The forecast of the classifier as its config says it."""
    return forecast_memory(toy())


def test_settings_change_what_they_are_about(plain):
    assert plain.batch_size == toy().train_dataloader.batch_size
    more = forecast_memory(toy(), batch_size=2 * plain.batch_size)
    assert more.largest[ACTIVATIONS] > 1.8 * plain.largest[ACTIVATIONS]
    assert more.largest[WEIGHTS] == plain.largest[WEIGHTS]
    half = forecast_memory(toy(), amp=True)
    assert 0.4 < half.largest[ACTIVATIONS] / plain.largest[ACTIVATIONS] < 0.9
    less = forecast_memory(toy(), strategy='fsdp_checkpointing')
    assert less.largest[ACTIVATIONS] < 0.8 * plain.largest[ACTIVATIONS]
    again = toy(runner_type='mmvmamba.FlexibleRunner')
    again.strategy = dict(type='mmvmamba.FSDPStrategy', activation_checkpointing=True)
    assert forecast_memory(again).peak == less.peak


def test_strategies_share_and_exchange():
    ddp, fsdp = (forecast_memory(toy(), strategy=name, gpus=4) for name in ('ddp', 'fsdp'))
    assert ddp.largest['gradients on their way'] == ddp.largest[GRADIENTS]
    for kind in (WEIGHTS, GRADIENTS, OPTIMIZER):
        assert fsdp.largest[kind] == pytest.approx(ddp.largest[kind] / 4, abs=1)
    model = TrainingStep(toy(), 1, (32, 32)).model
    units = [sum(x.numel() for x in unit.parameters()) for unit in shard_units(model)]
    outside = sum(x.numel() for x in model.parameters()) - sum(units)
    assert fsdp.largest['gathered parameters'] == 4 * (outside + 2 * max(units))


def test_averages_are_copies_of_the_weights(plain):
    averaging = toy()
    averaging.custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage')]
    forecast = forecast_memory(averaging)
    assert forecast.at_peak['averages of weights'] == forecast.largest[WEIGHTS]
    assert forecast.peak == plain.peak + forecast.largest[WEIGHTS]


def test_gradients_that_are_accumulated_meet_all_activations(plain):
    waiting = forecast_memory(toy(**{'optim_wrapper.accumulative_counts': 4}))
    assert waiting.at_peak[GRADIENTS] == waiting.largest[GRADIENTS] > plain.at_peak[GRADIENTS]


@pytest.mark.parametrize(
    ('steps', 'scope', 'shape'),
    [
        ([dict(type='Resize', scale=(1333, 800), keep_ratio=True)], 'mmdet', (800, 1333)),
        ([dict(scales=[(480, 1333), (800, 1333)]), dict(prob=0.5)], 'mmdet', (800, 1333)),
        ([dict(scale=(2048, 512)), dict(crop_size=(512, 640))], 'mmseg', (512, 640)),
        ([dict(scale=224), dict(type='PackInputs')], 'mmpretrain', (224, 224)),
        ([dict(transforms=[[dict(scale=64)], [dict(scale=96), dict()]])], 'mmpretrain', (96, 96)),
    ],
)
def test_the_size_of_images_is_read_off_the_pipeline(steps, scope, shape):
    dataset = dict(type='RepeatDataset', dataset=dict(pipeline=steps))
    cfg = Config(dict(default_scope=scope, train_dataloader=dict(dataset=dataset)))
    assert training_shape(cfg) == shape


def test_what_cannot_be_forecast_is_said():
    nothing = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[dict(type='Flip')]))))
    with pytest.raises(ValueError, match=r'must say the size of images.*--shape H W'):
        training_shape(nothing)
    with pytest.raises(ValueError, match=r"strategy must be one of .* got 'zero'"):
        forecast_memory(toy(), strategy='zero')
    with pytest.raises(ValueError, match='takes no training step of 2 images of 3 x 5'):
        forecast_memory(toy(TOYS / 'cls_vim.py'), batch_size=2, shape=(3, 5))


def test_losses_that_choose_by_values_are_named():
    from mmpretrain.models.heads import LinearClsHead

    class ChoosingHead(LinearClsHead):
        def _get_loss(self, cls_score, data_samples, **settings):
            assert cls_score.max() > 0
            return {}

    choosing = toy(CLASSIFIER)
    choosing.model.head.type = ChoosingHead
    with pytest.raises(ValueError, match=r'losses choose by values .*_local_scalar_dense'):
        forecast_memory(choosing)


@pytest.mark.slow
def test_the_forecast_is_within_a_fifth_of_what_a_process_takes():
    configs = [
        f'configs/toy/{name}.py' for name in ('cls_vim', 'det_mambaout_maskrcnn', 'seg_mila')
    ]
    ended = subprocess.run(
        [sys.executable, 'benchmarks/memory.py', *configs, '--batch-size', '16', '--json'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(ended.stdout.splitlines()[-1])
    assert len(found) == 3
    for name, forecast, measured in found:
        assert measured > 8 << 20, name
        assert 0.8 < forecast / measured < 1.2, name
