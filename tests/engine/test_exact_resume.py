"""A run that was stopped at any step and resumed equals the one that was not, to the bit."""

import pytest

from tests.engine.exact_runs import config, difference, train

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


def stop_and_resume(settings, folder, step):
    """Stops a run after a step; returns what it and the resumed one saw, and the end."""
    before, _ = train(settings, stop_after=step)
    after, end = train(settings, resume=folder / 'stopped.pth')
    return {**before, **after}, end


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
