"""Strategies give the losses of one process, and checkpoints that every other one takes."""

import json

import pytest
import torch
from mmengine.config import Config
from torch import multiprocessing, nn

from mmvmamba.cli.training import build_runner
from mmvmamba.engine.sync_batchnorm import CPUSyncBatchNorm, sync_on_cpu
from tests.engine.strategy_runs import STOP, config, run_in_process, train

pytest.importorskip('mmpretrain')
STRATEGIES = {
    'runner': None,
    'ddp': dict(type='mmvmamba.DDPStrategy', sync_bn='torch'),
    'fsdp': dict(type='mmvmamba.FSDPStrategy', sync_bn='torch'),
    'fsdp_checkpointing': dict(
        type='mmvmamba.FSDPStrategy', sync_bn='torch', activation_checkpointing=True
    ),
}


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """Losses of one process, and its checkpoint after four steps."""
    folder = tmp_path_factory.mktemp('alone')
    settings = config(folder, None)
    losses = train(settings)
    train(settings, stop_after=STOP)
    return losses, folder / 'stopped.pth'


@pytest.mark.parametrize(
    'processes', [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.full)]
)
def test_losses_are_those_of_one_process(alone, processes, tmp_path):
    losses, checkpoint = alone
    multiprocessing.start_processes(
        run_in_process, (processes, tmp_path, STRATEGIES, checkpoint), processes
    )
    expected = torch.tensor(losses)
    for rank in range(processes):
        for name, found in json.loads((tmp_path / f'rank{rank}.json').read_text()).items():
            for kind, got in found.items():
                torch.testing.assert_close(
                    torch.tensor(got),
                    expected[-len(got) :],
                    rtol=2e-4,
                    atol=2e-5,
                    msg=lambda text, name=name, kind=kind: f'{name}, {kind}: {text}',
                )
            assert len(found['taken_over']) == len(losses) - STOP, name
            # Two processes give the same bits. The order in which gloo adds up what more of them
            # have depends on a gradient's place in its bucket, and DDP fills buckets anew after the
            # first step.
            if processes == 2:
                assert found['resumed'] == found['whole'], name
    whole = torch.load(checkpoint, weights_only=True)
    for name in STRATEGIES:
        saved = torch.load(tmp_path / name / 'stopped.pth', weights_only=True)
        shapes = {key: tensor.shape for key, tensor in saved['state_dict'].items()}
        assert shapes == {key: tensor.shape for key, tensor in whole['state_dict'].items()}
        got = train(config(tmp_path / 'again', None), tmp_path / name / 'stopped.pth', resume=True)
        torch.testing.assert_close(torch.tensor(got), expected[STOP:], rtol=2e-4, atol=2e-5)


def test_one_process_gives_the_bits_of_runner_under_each_strategy(alone, tmp_path):
    losses, checkpoint = alone
    for name in ('ddp', 'fsdp_checkpointing'):
        settings = config(tmp_path / name, STRATEGIES[name])
        assert train(settings) == losses
        assert train(settings, checkpoint, resume=True) == losses[STOP:]


def test_loading_is_strict_under_a_strategy(alone, tmp_path):
    state = torch.load(alone[1], weights_only=True)
    del state['state_dict']['head.fc.weight']
    torch.save(dict(state_dict=state['state_dict']), tmp_path / 'partial.pth')
    with pytest.raises(ValueError, match=r'partial\.pth does not fit .*head\.fc\.weight'):
        train(config(tmp_path / 'run', STRATEGIES['ddp']), tmp_path / 'partial.pth')


def test_strategies_of_mmengine_are_refused_with_ours_named(tmp_path):
    settings = config(tmp_path, dict(type='mmengine.SingleDeviceStrategy'))
    with pytest.raises(ValueError, match=r'must be one of mmvmamba.*_base_/strategies'):
        build_runner(Config(settings))


def test_averages_of_sharded_weights_are_refused(tmp_path):
    settings = config(tmp_path, STRATEGIES['fsdp'], custom_hooks=[dict(type='EMAHook')])
    with pytest.raises(ValueError, match=r'EMAHook.*FSDPStrategy.*DDPStrategy'):
        train(settings)


def test_synchronised_norms_take_the_places_of_others():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4), nn.BatchNorm2d(4))
    expected = model.state_dict().keys()
    model = sync_on_cpu(model)
    assert [type(layer) for layer in model[1:]] == [CPUSyncBatchNorm, nn.BatchNorm2d]
    assert isinstance(sync_on_cpu(model, convert_all=True)[2], CPUSyncBatchNorm)
    assert model.state_dict().keys() == expected
