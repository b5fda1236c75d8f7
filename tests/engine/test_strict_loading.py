"""A runner loads the checkpoint of its own model, whole, with the hooks that load too."""

import pytest
import torch
from mmengine.hooks import EMAHook

from mmvmamba.checkpoint import CheckpointError
from tests.engine.small_run import small_runner

SAVING = dict(type='CheckpointHook', interval=1)


def run(work_dir, epochs, average=True, **settings):
    hooks = [EMAHook(momentum=0.5)] if average else []
    runner = small_runner(
        work_dir, SAVING, epochs=epochs, hooks=hooks, randomness=dict(seed=0), **settings
    )
    runner.train()
    return runner


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The checkpoint after one epoch of two, and what the second one ended with."""
    folder = tmp_path_factory.mktemp('whole')
    run(folder, epochs=2)
    return folder / 'epoch_1.pth', torch.load(folder / 'epoch_2.pth')


def changed(path, folder, change):
    checkpoint = torch.load(path)
    change(checkpoint)
    torch.save(checkpoint, folder / 'changed.pth')
    return str(folder / 'changed.pth')


def test_a_resumed_run_has_the_weights_and_the_average_of_one_not_stopped(trained, tmp_path):
    path, whole = trained
    run(tmp_path, epochs=2, load_from=str(path), resume=True)
    resumed = torch.load(tmp_path / 'epoch_2.pth')
    for entry in ('state_dict', 'ema_state_dict'):
        for key, tensor in whole[entry].items():
            assert torch.equal(resumed[entry][key], tensor), (entry, key)


def test_a_run_starts_from_the_average(trained, tmp_path):
    path, _ = trained
    hook = EMAHook()
    runner = small_runner(tmp_path, SAVING, hooks=[hook], load_from=str(path))
    runner.call_hook('before_run')
    runner.load_or_resume()
    average = torch.load(path)['state_dict']['layer.weight']
    for model in (runner.model, hook.ema_model.module):
        assert torch.equal(model.state_dict()['layer.weight'], average)


def test_a_file_of_another_model_ends_the_run(trained, tmp_path):
    path, _ = trained

    def lose_bias(checkpoint):
        del checkpoint['state_dict']['layer.bias']

    wrong = changed(path, tmp_path, lose_bias)
    with pytest.raises(CheckpointError, match=r'changed\.pth does not fit SmallModel: 1 missing'):
        run(tmp_path, epochs=1, average=False, load_from=wrong)
    with pytest.raises(CheckpointError, match='of a run with another model than this SmallModel'):
        run(tmp_path, epochs=2, average=False, load_from=wrong, resume=True)


def test_an_optimizer_of_other_settings_is_refused(trained, tmp_path):
    path, _ = trained

    def lose_parameter(checkpoint):
        checkpoint['optimizer']['param_groups'][0]['params'].pop()

    wrong = changed(path, tmp_path, lose_parameter)
    message = 'other settings of the optimizer: 1 groups of 1 parameters in all, 1 of 2'
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, epochs=2, load_from=wrong, resume=True)
