from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmvmamba.engine import KernelWarmupHook
from mmvmamba.engine.hooks import kernel_warmup
from mmvmamba.registry import MODELS


class Lines(list):
    def info(self, text):
        self.append(text)


@pytest.fixture
def runner():
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='MambaOut', arch='femto', drop_path_rate=0.5))
    wrapper = SimpleNamespace(optim_context=lambda model: nullcontext())
    return SimpleNamespace(model=model, logger=Lines(), optim_wrapper=wrapper)


@pytest.fixture
def compiled(monkeypatch):
    """What would be compiled: the CPU is taken for a GPU, and nothing runs."""
    calls = []
    monkeypatch.setattr(kernel_warmup, 'COMPILING_DEVICES', ('cpu',))
    monkeypatch.setattr(
        kernel_warmup, 'run_copy', lambda backbone, device, trains: calls.append(trains)
    )
    return calls


def test_each_purpose_is_compiled_once_with_a_line(runner, compiled):
    hook = KernelWarmupHook()
    for _ in range(2):
        hook.before_train(runner)
        hook.before_val(runner)
        hook.before_test(runner)
    assert compiled == [True, False]
    assert runner.logger[::2] == [
        f'compiling the kernels of MambaOut for {purpose} on cpu: up to a minute; later runs find '
        'them on the disk'
        for purpose in ('training', 'evaluation')
    ]
    assert runner.logger[1::2] == ['compiled in 0 s'] * 2


def test_cpus_and_other_backbones_compile_nothing(runner, compiled, monkeypatch):
    hook, backbone = KernelWarmupHook(), runner.model.backbone
    runner.model.backbone = nn.Conv2d(3, 4, 3)
    hook.before_train(runner)
    del runner.model.backbone
    hook.before_train(runner)
    runner.model.backbone = backbone
    monkeypatch.setattr(kernel_warmup, 'COMPILING_DEVICES', ('cuda',))
    hook.before_train(runner)
    assert compiled == runner.logger == []


@pytest.mark.parametrize('frozen_stages', [-1, 4])
def test_a_model_and_random_numbers_stay_as_they_are(runner, frozen_stages):
    settings = dict(arch='T', drop_path_rate=0.5, frozen_stages=frozen_stages)
    backbone = MODELS.build(dict(type='MambaVision', **settings))
    before = {name: x.clone() for name, x in backbone.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for trains in (True, False):
        kernel_warmup.run_copy(backbone, torch.device('cpu'), trains)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(x, before[name]) for name, x in backbone.state_dict().items())
    assert all(x.grad is None for x in backbone.parameters())
    assert backbone.training
