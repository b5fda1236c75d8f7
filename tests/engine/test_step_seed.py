import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmvmamba.engine import ExactEpochLoop, StepSeedHook


def draw(hook, runner, epoch, iteration):
    runner.epoch, runner.iter = epoch, iteration
    hook.before_train_epoch(runner)
    first = torch.rand(1).item()
    hook.before_train_iter(runner, 0)
    # What the toolboxes' transforms and samplers draw from.
    return first, random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


@pytest.fixture
def runner():
    return SimpleNamespace(seed=7)


def test_a_step_draws_the_same_whatever_came_before(runner):
    hook = StepSeedHook()
    before = draw(hook, runner, 3, 120)
    draw(hook, runner, 0, 0)
    torch.rand(5)
    assert draw(StepSeedHook(), runner, 3, 120) == before


def test_steps_epochs_and_seeds_differ(runner):
    hook = StepSeedHook()
    states = [draw(hook, runner, epoch, step) for epoch, step in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    assert len({state[0] for state in states}) == 2
    assert len({state[1:] for state in states}) == 2
    runner.seed = 8
    assert draw(hook, runner, 0, 0) != states[0]


def test_ranks_differ(runner, monkeypatch):
    first = draw(StepSeedHook(), runner, 0, 0)
    monkeypatch.setattr('mmvmamba.engine.hooks.step_seed.get_rank', lambda: 1)
    assert all(a != b for a, b in zip(first, draw(StepSeedHook(), runner, 0, 0), strict=True))


@pytest.mark.parametrize(
    ('loop', 'persistent', 'reported'),
    [
        (EpochBasedTrainLoop, True, True),
        (EpochBasedTrainLoop, False, False),
        (IterBasedTrainLoop, True, False),
        (ExactEpochLoop, True, False),
    ],
)
def test_workers_that_live_on_are_reported(loop, persistent, reported, runner):
    warnings = []
    loader = SimpleNamespace(
        num_workers=2, persistent_workers=persistent, worker_init_fn=print, batch_sampler=None
    )
    runner.iter = 0
    runner.logger = SimpleNamespace(warning=warnings.append)
    runner.message_hub = MessageHub.get_instance('persistent workers')
    runner.train_dataloader = loader
    runner.train_loop = object.__new__(loop)
    StepSeedHook().before_train(runner)
    assert loader.worker_init_fn is None, "PyTorch's own seeds stay"
    assert len(warnings) == reported
    assert all('persistent_workers=True' in message for message in warnings)
