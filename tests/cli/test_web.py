"""What ``mmvmamba web`` refuses before it serves anything."""

import socket
import sys

import pytest

from mmvmamba.cli.main import main


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', 'no_such_model'], 'there is no model'),
        (['--port', '99999'], '127.0.0.1:99999 cannot be used'),
        (['--device', 'abacus'], '--device abacus is none'),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, message, capsys):
    pytest.importorskip('gradio', reason='the extra [web] is not installed')
    with pytest.raises(SystemExit, match='2'):
        main(['web', *arguments])
    assert message in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys):
    pytest.importorskip('gradio', reason='the extra [web] is not installed')
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match='2'):
            main(['web', '--port', str(port)])
    assert f'127.0.0.1:{port} cannot be used' in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(SystemExit, match='2'):
        main(['web'])
    assert 'pip install "mmvmamba[web]"' in capsys.readouterr().err
