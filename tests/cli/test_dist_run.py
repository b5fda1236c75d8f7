import socket

import pytest

from mmvmamba.cli.dist_run import free_port, main, torchrun_arguments
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
