"""A run that was stopped at any step and resumed equals the one that was not, to the bit."""

import json

import pytest
import torch
from mmengine.logging import MMLogger

from tests.engine.exact_runs import compare_in_process, config, difference, stop_and_resume, train

BY_SHAPE = dict(type='mmdet.AspectRatioBatchSampler')
KINDS = {
    'epochs': dict(by_epoch=True),
    'epochs, by shape': dict(
        by_epoch=True, batch_sampler=dict(type='mmdet.AspectRatioBatchSampler')
    ),
    'steps': dict(by_epoch=False, sampler=dict(type='InfiniteSampler', shuffle=True)),
    'steps over epochs': dict(by_epoch=False),
}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """What runs that were not stopped saw and came to, by kind."""
    folder = tmp_path_factory.mktemp('whole')
    return {kind: train(config(folder, **settings)) for kind, settings in KINDS.items()}


# An epoch has six steps: in the middle, at the end of an epoch, before the last step of one.
@pytest.mark.parametrize('step', [2, 6, 11])
@pytest.mark.parametrize('kind', KINDS)
def test_a_stopped_run_goes_on_to_the_same_end(kind, step, whole, tmp_path):
    got = stop_and_resume(config(tmp_path, **KINDS[kind]), tmp_path, step)
    assert difference(whole[kind], got) is None


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize('kind', ['epochs, by shape', 'steps over epochs'])
def test_workers_change_nothing(kind, workers, whole, tmp_path):
    settings = config(tmp_path, workers=workers, persistent_workers=workers == 2, **KINDS[kind])
    assert difference(whole[kind], stop_and_resume(settings, tmp_path, 8)) is None


# The first process writes the checkpoint, and each normalises by its own batches. With five steps
# to an update the run stops when the gradients of three wait for it.
@pytest.mark.slow
def test_two_processes_go_on_to_the_same_end(tmp_path):
    kinds = {
        'epochs': dict(by_epoch=True, workers=1),
        'steps': dict(by_epoch=False, sampler=dict(type='InfiniteSampler'), accumulative_counts=5),
    }
    torch.multiprocessing.spawn(compare_in_process, (2, tmp_path, kinds, 8), nprocs=2)
    for rank in (0, 1):
        assert json.loads((tmp_path / f'rank{rank}.json').read_text()) == dict.fromkeys(kinds)


@pytest.mark.parametrize('step', [4, 6])
def test_gradients_that_wait_for_an_update_are_not_lost(step, tmp_path):
    settings = config(tmp_path, by_epoch=True, accumulative_counts=5)
    whole = train(settings)
    assert difference(whole, stop_and_resume(settings, tmp_path, step)) is None


@pytest.fixture
def warnings(monkeypatch):
    """What the loggers of runs were asked to warn of."""
    found = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text, *args: found.append(text))
    return found


def test_a_run_that_goes_on_otherwise_says_so(warnings, tmp_path):
    settings = config(tmp_path, by_epoch=True)
    train(settings, stop_after=9)
    settings['train_dataloader']['batch_size'] = 2
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        steps, _ = train(settings, resume=tmp_path / 'stopped.pth')
    finally:
        torch.set_num_threads(threads)
    assert any(
        'not an exact continuation: the run was begun with 4 samples in a batch, now 2; '
        f'{threads} threads, now {threads + 1}' in text
        for text in warnings
    )
    # Half of the second epoch was done, which has eleven steps now.
    assert any('3 steps into an epoch of 6 steps, and an epoch has 11 now' in t for t in warnings)
    assert steps[9][:2] == (1, 5)
    assert len(steps) == 6 + 11


def test_an_exact_continuation_warns_of_nothing(warnings, tmp_path):
    settings = config(tmp_path, by_epoch=True)
    train(settings, stop_after=9)
    train(settings, resume=tmp_path / 'stopped.pth')
    assert not [text for text in warnings if 'exact' in text]


def test_a_checkpoint_of_mmengine_goes_on_amid_its_epoch(tmp_path):
    settings = config(tmp_path, by_epoch=True)
    whole = train(settings)
    before, _ = train(settings, stop_after=9)
    path = tmp_path / 'stopped.pth'
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint['message_hub']['runtime_info']['place_in_epoch']
    torch.save(checkpoint, path)
    after, end = train(settings, resume=path)
    assert difference(whole, ({**before, **after}, end)) is None
