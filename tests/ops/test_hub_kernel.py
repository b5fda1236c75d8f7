"""The scan's backend from the Hugging Face hub, with stand-ins for the packages that load it."""

import sys
import types

import pytest
import torch

from mmvmamba.ops.selective_scan import hub_kernel, selective_scan
from tests.ops.test_selective_scan_dispatch import _KernelOfMambaSSM

CUDA = torch.device('cuda')


def scan_fn(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state):
    return _KernelOfMambaSSM.apply(u, delta, A, B, C, D, delta_bias, delta_softplus)


@pytest.fixture
def hub(monkeypatch):
    """What was asked of the hub; its kernel runs on the CPU."""
    asked = []
    library, kernels = types.ModuleType('huggingface_hub'), types.ModuleType('kernels')
    library.constants = types.SimpleNamespace(HF_HUB_OFFLINE=False)

    def snapshot_download(repository, local_files_only):
        asked.append((repository, local_files_only, library.constants.HF_HUB_OFFLINE))
        return '/a/folder'

    library.snapshot_download = snapshot_download
    kernels.get_local_kernel = lambda folder: types.SimpleNamespace(selective_scan_fn=scan_fn)
    monkeypatch.setitem(sys.modules, 'huggingface_hub', library)
    monkeypatch.setitem(sys.modules, 'kernels', kernels)
    clear()
    yield types.SimpleNamespace(asked=asked, library=library, kernels=kernels)
    clear()


def clear():
    hub_kernel._load.cache_clear()
    hub_kernel._self_test.cache_clear()


def test_its_kernel_is_tested_and_used_and_nothing_is_downloaded(hub, monkeypatch):
    assert hub_kernel._self_test('cpu') is None
    assert hub.asked == [('kernels-community/mamba-ssm', True, True)]
    assert hub.library.constants.HF_HUB_OFFLINE is False
    monkeypatch.setattr(hub_kernel, 'unavailable_reason', lambda *kind: None)
    x = torch.randn(1, 3, 7)
    given = (x, x, -torch.rand(3, 2), x[:, :2], x[:, :2])
    got = selective_scan(*given, delta_softplus=True, backend='hub')
    want = selective_scan(*given, delta_softplus=True, backend='torch')
    torch.testing.assert_close(got, want)


def test_a_kernel_that_is_not_there_names_the_commands(hub):
    def absent(*args, **kwargs):
        raise OSError('not in the cache\nand much more')

    hub.library.snapshot_download = absent
    reason = hub_kernel.unavailable_reason(CUDA, torch.bfloat16, 16)
    assert reason == (
        'kernels-community/mamba-ssm: not in the cache; install it with: '
        'pip install kernels && hf download kernels-community/mamba-ssm'
    )


def test_a_kernel_without_the_function_is_refused(hub):
    hub.kernels.get_local_kernel = lambda folder: types.SimpleNamespace()
    reason = hub_kernel.unavailable_reason(CUDA, torch.bfloat16, 16)
    assert 'has no selective_scan_fn; install it with: pip install kernels' in reason


def test_a_wrong_kernel_is_refused(hub):
    def wrong(*args, **options):
        return tuple(x + 1 for x in scan_fn(*args, **options))

    hub.kernels.get_local_kernel = lambda folder: types.SimpleNamespace(selective_scan_fn=wrong)
    assert 'differs from the reference' in hub_kernel._self_test('cpu')


def test_the_package_that_loads_it_is_named_where_it_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, 'kernels', None)
    clear()
    reason = hub_kernel.unavailable_reason(CUDA, torch.float32, 16)
    clear()
    assert 'pip install kernels && hf download' in reason


def test_the_cpu_is_refused():
    reason = hub_kernel.unavailable_reason(torch.device('cpu'), torch.float32, 16)
    assert reason == 'it runs on CUDA devices, got tensors on cpu'
