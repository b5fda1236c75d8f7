"""Strategies give the losses of one process, and checkpoints that every other one takes."""

import json

import pytest
import torch
from mmengine.config import Config
from torch import multiprocessing, nn

from mmvmamba.cli.training import build_runner
from mmvmamba.engine.strategies.fsdp import shard_units
from mmvmamba.engine.sync_batchnorm import CPUSyncBatchNorm, sync_on_cpu
from tests.engine.strategy_runs import (
    FAMILIES,
    FILES,
    STOP,
    STRATEGIES,
    config,
    family_config,
    run_families,
    run_strategies,
    stopped_run,
    train,
)

pytest.importorskip('mmpretrain')


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """Losses of one process, and its checkpoint after four steps."""
    folder = tmp_path_factory.mktemp('alone')
    settings = config(folder, None)
    losses = train(settings)
    train(settings, stop_after=STOP)
    return losses, folder / 'stopped.pth'


def check_losses(got, expected, name):
    torch.testing.assert_close(
        torch.tensor(got),
        torch.tensor(expected),
        rtol=2e-4,
        atol=2e-5,
        msg=lambda text: f'{name}: {text}',
    )


def test_every_strategy_file_is_run():
    assert FILES == ['ddp', 'deepspeed_zero1', 'fsdp', 'fsdp_checkpointing']
    without = [None, 'ddp', 'fsdp', 'fsdp_checkpointing']
    assert [name for name in STRATEGIES if name != 'deepspeed_zero1'] == without


@pytest.mark.parametrize(
    'processes', [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.full)]
)
def test_losses_are_those_of_one_process(alone, processes, tmp_path):
    losses, checkpoint = alone
    arguments = processes, tmp_path, checkpoint
    multiprocessing.start_processes(run_strategies, arguments, processes)
    for rank in range(processes):
        found = json.loads((tmp_path / f'rank{rank}.json').read_text())
        for name, got in found.items():
            if 'until' in name:
                check_losses(got, losses[:STOP], name)
            else:
                check_losses(got, losses[STOP:] if 'from' in name else losses, name)
        # Two processes give the same bits. The order in which gloo adds up what more of them have
        # depends on a gradient's place in its bucket, and DDP fills buckets anew after the first
        # step.
        for name in STRATEGIES if processes == 2 else ():
            first, then = found[f'{name}, until it stopped'], found[f'{name} from {name}']
            assert first + then == found[f'{name}, whole'], name
    whole = torch.load(checkpoint, weights_only=True)
    for name in STRATEGIES:
        source = stopped_run(tmp_path, name)
        saved = torch.load(source, weights_only=True)
        shapes = {key: tensor.shape for key, tensor in saved['state_dict'].items()}
        assert shapes == {key: tensor.shape for key, tensor in whole['state_dict'].items()}
        got = train(config(tmp_path / 'again', None), source, resume=True)
        check_losses(got, losses[STOP:], f'one process from {name}')


@pytest.mark.slow
def test_every_family_trains_in_shares(tmp_path):
    multiprocessing.start_processes(run_families, (2, tmp_path), 2)
    found = json.loads((tmp_path / 'rank1.json').read_text())
    assert len(FAMILIES) == 7 and len(found) == 14
    for family in FAMILIES:
        expected = train(family_config(tmp_path / 'alone', family, None))
        for strategy in ('fsdp', 'fsdp_checkpointing'):
            check_losses(found[f'{family}, {strategy}'], expected, f'{family}, {strategy}')


@pytest.mark.parametrize('family', FAMILIES)
def test_the_units_of_a_family_are_its_blocks(family, tmp_path):
    runner = build_runner(Config(family_config(tmp_path, family, None)))
    units = list(shard_units(runner.model))
    assert len(units) >= 4
    # They hold most of the backbone, and no part of it twice.
    held = [id(p) for unit in units for p in unit.parameters()]
    assert len(held) == len(set(held))
    inside = {id(p): p.numel() for unit in units for p in unit.parameters()}
    assert sum(inside.values()) > 0.5 * sum(p.numel() for p in runner.model.backbone.parameters())


def test_one_process_gives_the_bits_of_runner_under_each_strategy(alone, tmp_path):
    losses, checkpoint = alone
    for name in ('ddp', 'fsdp_checkpointing'):
        settings = config(tmp_path / name, name)
        assert train(settings) == losses
        assert train(settings, checkpoint, resume=True) == losses[STOP:]


def test_loading_is_strict_under_a_strategy(alone, tmp_path):
    state = torch.load(alone[1], weights_only=True)
    del state['state_dict']['head.fc.weight']
    torch.save(dict(state_dict=state['state_dict']), tmp_path / 'partial.pth')
    with pytest.raises(ValueError, match=r'partial\.pth does not fit .*head\.fc\.weight'):
        train(config(tmp_path / 'run', 'ddp'), tmp_path / 'partial.pth')


def test_strategies_of_mmengine_are_refused_with_ours_named(tmp_path):
    strategy = dict(type='mmengine.SingleDeviceStrategy')
    settings = config(tmp_path, 'ddp', strategy=strategy)
    with pytest.raises(ValueError, match=r'must be one of mmvmamba.*_base_/strategies'):
        build_runner(Config(settings))


def test_deepspeed_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr('mmvmamba.engine.strategies.zero.find_spec', lambda name: None)
    with pytest.raises(ValueError, match='needs deepspeed: pip install deepspeed'):
        build_runner(Config(config(tmp_path, 'deepspeed_zero1')))


def test_stages_of_zero_that_share_weights_are_refused(tmp_path):
    strategy = dict(type='mmvmamba.DeepSpeedStrategy', stage=3)
    with pytest.raises(ValueError, match=r'stage must be one of \(1, 2\), got 3; .*FSDPStrategy'):
        build_runner(Config(config(tmp_path, 'deepspeed_zero1', strategy=strategy)))


def test_averages_of_sharded_weights_are_refused(tmp_path):
    settings = config(tmp_path, 'fsdp', custom_hooks=[dict(type='EMAHook')])
    with pytest.raises(ValueError, match=r'EMAHook.*FSDPStrategy.*DDPStrategy'):
        train(settings)


def test_synchronised_norms_take_the_places_of_others():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4), nn.BatchNorm2d(4))
    expected = model.state_dict().keys()
    model = sync_on_cpu(model)
    assert [type(layer) for layer in model[1:]] == [CPUSyncBatchNorm, nn.BatchNorm2d]
    assert isinstance(sync_on_cpu(model, convert_all=True)[2], CPUSyncBatchNorm)
    assert model.state_dict().keys() == expected
