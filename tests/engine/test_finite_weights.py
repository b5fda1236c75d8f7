from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmvmamba.datasets.errors import DataError
from mmvmamba.engine import FiniteWeightsHook


@pytest.fixture
def runner():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    return SimpleNamespace(model=model, iter=0, _load_from='some.pth')


def test_finite_weights_pass(runner):
    hook = FiniteWeightsHook(interval=1)
    hook.before_test(runner)
    hook.before_val(runner)
    hook.after_train_iter(runner, 0)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('name', ['0.weight', '1.running_var'])
def test_weights_that_are_not_finite_are_named(name, value, runner):
    with torch.no_grad():
        runner.model.state_dict()[name].view(-1)[0] = value
    hook = FiniteWeightsHook(interval=1)
    with pytest.raises(DataError, match=f'some.pth holds weights that are not finite: {name}$'):
        hook.before_test(runner)
    with pytest.raises(DataError, match=f'after 0 steps, the training has diverged: {name}'):
        hook.before_val(runner)
    with pytest.raises(DataError, match=f'after 1 steps, the training has diverged: {name}'):
        hook.after_train_iter(runner, 0)


def test_training_looks_at_the_interval_only(runner):
    with torch.no_grad():
        runner.model[0].weight.fill_(float('nan'))
    hook = FiniteWeightsHook(interval=3)
    for runner.iter in (0, 1, 3):
        hook.after_train_iter(runner, 0)
    runner.iter = 2
    with pytest.raises(DataError, match='after 3 steps'):
        hook.after_train_iter(runner, 0)


def test_wrong_interval_is_refused():
    with pytest.raises(ValueError, match='interval must be 1 or more, got 0'):
        FiniteWeightsHook(0)
