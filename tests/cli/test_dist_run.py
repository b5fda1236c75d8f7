import signal
import socket
import subprocess
import sys

import pytest

from mmvmamba.cli.dist_run import check_port, free_port, main, torchrun_arguments
from mmvmamba.cli.errors import UserError


def test_one_machine_gets_a_free_port():
    command = torchrun_arguments(2, 'train.py', ['config.py', '--amp'], {})
    port = next(item for item in command if item.startswith('--master_port='))
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', int(port.partition('=')[2])))
    assert '--nproc_per_node=2' in command
    assert '--nnodes=1' in command
    assert command[-4:] == ['train.py', 'config.py', '--amp', '--launcher=pytorch']


def test_several_machines_are_read_from_the_environment():
    env = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='29501')
    command = torchrun_arguments(8, 'train.py', [], env)
    assert command[:4] == [
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=10.0.0.1',
        '--master_port=29501',
    ]


def test_several_machines_need_a_common_address():
    with pytest.raises(UserError, match='NNODES=2 needs MASTER_ADDR, PORT'):
        torchrun_arguments(8, 'train.py', [], dict(NNODES='2', NODE_RANK='0'))


@pytest.mark.parametrize('count', ['0', 'two', '-1'])
def test_the_number_of_gpus_is_checked(count, capsys):
    with pytest.raises(SystemExit) as end:
        main([count, 'train.py', 'config.py'])
    assert end.value.code == 2
    assert f'at least 1, got {count!r}' in capsys.readouterr().err


def test_more_gpus_than_there_are_is_refused(capsys, monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    with pytest.raises(SystemExit) as end:
        main(['4', 'train.py', 'config.py'])
    assert end.value.code == 2
    assert '4 GPUs were asked for and this machine has 2' in capsys.readouterr().err


def test_free_ports_are_free():
    assert 1024 < free_port() < 65536


def test_a_port_in_use_is_refused_at_once(capsys, monkeypatch):
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv('PORT', str(port))
        with pytest.raises(SystemExit) as end:
            main(['2', 'train.py', 'config.py'])
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f'error: port {port} of this machine: in use; '
        'leave PORT out for a free one, or name another\n'
    )


@pytest.mark.parametrize('port', ['0', '70000', 'http', '-1'])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(UserError, match=f'PORT must be a number from 1 to 65535, got {port!r}'):
        check_port(port)


def test_the_port_of_another_machine_is_its_own_affair():
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        env = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1')
        torchrun_arguments(8, 'train.py', [], {**env, 'PORT': str(other.getsockname()[1])})


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_request_to_stop_reaches_every_process(number, tmp_path):
    """The processes leave in their own time; their exit code is that of the run, in silence."""
    script = tmp_path / 'waits.py'
    script.write_text(
        'import signal, sys, time\n'
        f'signal.signal({int(number)}, lambda *_: (time.sleep(0.5), sys.exit(143)))\n'
        # One write, where print makes two that another process may come between.
        'sys.stdout.write("ready\\n")\n'
        'sys.stdout.flush()\n'
        'while True: time.sleep(0.1)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-m', 'mmvmamba.cli.dist_run', '2', str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(2):
        assert process.stdout.readline() == 'ready\n'
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert 'Traceback' not in errors
    assert 'error' not in errors.lower()
