import pytest

from mmvmamba.cli import doctor
from mmvmamba.ops.ms_deform_attn import available_backends
from mmvmamba.ops.ms_deform_attn import torch as torch_backend
from mmvmamba.ops.selective_scan import numba as numba_backend


def test_backends_here_are_right(capsys):
    assert doctor.main() == 0
    table = capsys.readouterr().out
    assert 'WRONG' not in table
    scan, deform_attn = table.split('deformable attention:')
    for name in ('triton', 'numba', 'mamba_ssm', 'hub', 'torch'):
        assert f'\n{name}' in scan
    for name in ('mmcv', 'triton', 'numba', 'torch', 'export'):
        assert f'\n{name}' in deform_attn
    # One more runs on request alone.
    running = len(available_backends()) + 1
    assert deform_attn.count(' ms') == running * len(doctor.DEFORM_ATTN_CASES)


@pytest.mark.parametrize('step', ['forward', 'backward'])
@pytest.mark.parametrize(
    ('number', 'name', 'module', 'what'),
    [
        (0, 'numba', numba_backend, 'selective scan by numba on cpu'),
        (1, 'torch', torch_backend, 'deformable attention by torch on cpu'),
    ],
    ids=['scan', 'deform_attn'],
)
def test_a_wrong_backend_is_found(monkeypatch, capsys, number, name, module, what, step):
    operator = doctor.OPERATORS[number]
    monkeypatch.setattr(doctor, 'OPERATORS', (operator,))
    modules = {name: operator.backends.modules[name]}
    monkeypatch.setattr(operator.backends, 'modules', modules)
    right = getattr(module, step)

    def wrong(*args):
        results = right(*args)
        if isinstance(results, tuple):
            return (results[0] * 1.001, *results[1:])
        return results * 1.001

    monkeypatch.setattr(module, step, wrong)
    assert doctor.main() == 1
    assert f'wrong results from: {what}\n' in capsys.readouterr().out
