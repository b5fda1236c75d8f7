import pytest

from mmvmamba import doctor
from mmvmamba.ops.selective_scan import cpu


def test_backends_here_are_right(capsys):
    assert doctor.main() == 0
    table = capsys.readouterr().out
    assert 'WRONG' not in table
    for name in ('triton', 'numba', 'mamba_ssm', 'torch'):
        assert f'\n{name}' in table


@pytest.mark.parametrize('step', ['forward', 'backward'])
def test_a_wrong_backend_is_found(monkeypatch, capsys, step):
    monkeypatch.setattr(doctor, 'BACKENDS', {'numba': 'cpu'})
    right = getattr(cpu, step)

    def wrong(*args):
        results = list(right(*args))
        results[0] = results[0] * 1.001
        return tuple(results)

    monkeypatch.setattr(cpu, step, wrong)
    assert doctor.main() == 1
    assert 'wrong results from: numba' in capsys.readouterr().out
