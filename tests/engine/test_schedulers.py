"""Learning rates of the published recipes, against values of the official training code."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvmamba.engine.ema import SteppedEMA
from mmvmamba.engine.schedulers import WarmupCosineLR
from mmvmamba.registry import PARAM_SCHEDULERS

ROOT = Path(__file__).parents[2]


def scheduler_of(config, epoch_length):
    """The scheduler of a config on an optimizer with two learning rates, one half the other."""
    config = Config.fromfile(ROOT / f'configs/cls/{config}.py', import_custom_modules=False)
    settings = config.param_scheduler
    lr = config.optim_wrapper.optimizer.lr
    parameters = [dict(params=[torch.zeros(1)], lr=value) for value in (lr, lr / 2)]
    optimizer = torch.optim.SGD(parameters, lr=lr)
    if settings.pop('convert_to_iter_based', False):
        settings.pop('type')
        return WarmupCosineLR.build_iter_from_epoch(
            optimizer, by_epoch=True, epoch_length=epoch_length, **settings
        )
    return PARAM_SCHEDULERS.build(settings, default_args=dict(optimizer=optimizer))


def learning_rates(scheduler, steps):
    """The learning rates at some steps."""
    values = {}
    for step in range(max(steps) + 1):
        if step in steps:
            first, second = scheduler.get_last_value()
            assert second == pytest.approx(first / 2)
            values[step] = first
        scheduler.optimizer.step()
        scheduler.step()
    return values


def test_plain_mamba_warms_up_by_a_factor_of_the_cosine():
    want = {0: 2.0e-6, 1: 1.351963e-4, 10: 1.330383e-3, 15: 1.987811e-3, 150: 1.01e-3}
    want[299] = 2.005428e-5
    got = learning_rates(scheduler_of('plain_mamba_l1_in1k', 626), {epoch * 626 for epoch in want})
    for epoch, value in want.items():
        assert got[epoch * 626] == pytest.approx(value, rel=1e-6), epoch


def test_mambavision_counts_its_updates_from_one():
    want = {1: 1.8011218e-6, 3120: 0.0025005, 6239: 0.0049991989, 6240: 0.0049488760}
    want |= {48360: 0.0025025, 96719: 5.0000013e-6, 98000: 5e-6}
    got = learning_rates(scheduler_of('mambavision_t_in1k', 312), {k - 1 for k in want})
    for update, value in want.items():
        assert got[update - 1] == pytest.approx(value, rel=1e-6), update


def test_mambaout_cools_down_at_the_minimum():
    got = learning_rates(scheduler_of('mambaout_femto_in1k', 1), {0, 19, 20, 299, 300, 309})
    assert got[0] == pytest.approx(1e-6)
    assert got[19] == pytest.approx(1e-6 + 19 * (4e-3 - 1e-6) / 20)
    assert got[20] == pytest.approx(3.9564e-3, rel=1e-4)
    assert got[299] > 1e-5
    assert got[300] == got[309] == pytest.approx(1e-5)


def test_vim_repeats_its_first_epoch():
    got = learning_rates(scheduler_of('vim_tiny_in1k', 1), set(range(300)))
    assert got[0] == got[1] == pytest.approx(1e-6)
    assert got[2] == pytest.approx(1e-6 + (1e-3 - 1e-6) / 5)
    assert got[6] == pytest.approx(1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * 5 / 300)) / 2)


def test_fine_tuning_of_vim_keeps_its_rate():
    got = learning_rates(scheduler_of('vim_tiny_plus_in1k', 1), set(range(30)))
    assert all(value == pytest.approx(1e-5) for value in got.values())


def test_a_schedule_goes_on_behind_its_last_step():
    settings = dict(length=20, warmup=5, start_ratio=0.1)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    whole = WarmupCosineLR(optimizer, **settings)
    for _ in range(8):
        optimizer.step()
        whole.step()
    later = torch.optim.SGD([dict(params=[torch.zeros(1)], initial_lr=0.5)], lr=0.5)
    assert WarmupCosineLR(later, last_step=7, **settings).get_last_value() == whole.get_last_value()


def test_a_warm_up_longer_than_the_cosine_is_refused():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(ValueError, match='0 <= warmup <= length is needed, got 5 and 4'):
        WarmupCosineLR(optimizer, length=4, warmup=5)


def test_the_average_follows_faster_after_the_milestone():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = SteppedEMA(model, momentum=0.1, milestone=2, factor=5.0)
    values = []
    for weight in (0.0, 1.0, 1.0):
        model.weight.data.fill_(weight)
        average.update_parameters(model)
        values.append(average.module.weight.item())
    assert values == pytest.approx([0.0, 0.1, 0.1 + 0.5 * 0.9])
