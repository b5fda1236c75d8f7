import pytest
from torch.utils.data import DataLoader, Dataset

from mmvmamba.cli.errors import UserError, user_errors
from mmvmamba.datasets.errors import DataError


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


def test_other_processes_let_the_first_one_speak(capsys, monkeypatch):
    spoken_before_waiting = []
    monkeypatch.setattr('time.sleep', lambda _: spoken_before_waiting.append(capsys.readouterr()))
    monkeypatch.setenv('LOCAL_RANK', '1')
    with pytest.raises(SystemExit) as end, user_errors():
        raise UserError('no such metric')
    assert end.value.code == 2
    assert [captured.err for captured in spoken_before_waiting] == ['']
    # Whoever is still there has met an error of its own.
    assert capsys.readouterr().err == 'error: no such metric\n'


class Broken(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise DataError('image 7 is not there')


def test_the_traceback_of_a_worker_is_left_out(capsys):
    with pytest.raises(SystemExit), user_errors():
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert capsys.readouterr().err == 'error: image 7 is not there\n'
