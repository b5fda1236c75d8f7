"""Where the time of a call goes: what is counted as the scan."""

from importlib import import_module

import pytest
import torch

from mmvmamba.models.backbones import PlainMamba
from tests.benchmarks.test_common import BENCHMARKS

TINY = dict(embed_dims=32, num_layers=1, num_convs=2, layers_with_dwconv=())


@pytest.fixture
def shares(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module('shares')


@pytest.mark.parametrize('with_gradients', [False, True])
def test_the_scan_is_found(shares, with_gradients):
    model = PlainMamba(TINY).train(with_gradients)
    images = torch.randn(1, 3, 64, 64)

    def call():
        with torch.set_grad_enabled(with_gradients):
            return model(images)

    called = {event.key for event in profile(call)}
    names = [name for name in called if 'scan' in name]
    assert names and {shares.group_of(name) for name in names} == {'scan'}


def profile(call):
    """What the profiler finds in a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        call()
    return profiler.key_averages()
