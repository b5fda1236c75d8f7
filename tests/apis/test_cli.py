import pytest

from mmvmamba.apis.cli import UserError, user_errors


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (UserError('no such metric'), 'error: no such metric\n'),
        (ValueError("arch must be one of ['L1']"), "error: arch must be one of ['L1']\n"),
        (KeyError('X is not in the registry'), 'error: X is not in the registry\n'),
        (
            FileNotFoundError(2, 'No such file or directory', 'a.json'),
            'No such file or directory: a.json',
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bad_input_ends_in_one_line(error, line, capsys):
    with pytest.raises(SystemExit) as end, user_errors():
        raise error
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert line in message
    assert message.count('\n') == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), user_errors():
        _ = 1 / 0


def test_value_errors_of_a_running_job_keep_their_traceback():
    with pytest.raises(ValueError, match='deep inside'), user_errors(also=()):
        raise ValueError('deep inside')


def test_debug_shows_everything():
    with pytest.raises(UserError), user_errors(debug=True):
        raise UserError('no such metric')


def test_ctrl_c_has_its_own_exit_code(capsys):
    with pytest.raises(SystemExit) as end, user_errors():
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == 'error: interrupted\n'


def test_other_processes_stay_silent(capsys, monkeypatch):
    waited = []
    monkeypatch.setattr('time.sleep', waited.append)
    monkeypatch.setenv('LOCAL_RANK', '1')
    with pytest.raises(SystemExit) as end, user_errors():
        raise UserError('no such metric')
    assert end.value.code == 2
    assert capsys.readouterr().err == ''
    assert waited == [5]
