"""Joining a distributed run on machines with and without GPUs."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvmamba.engine import launch

REPOSITORY = Path(__file__).resolve().parents[2]


def test_unknown_launcher_is_rejected():
    with pytest.raises(ValueError, match=r"must be one of .*'slurm'.*got 'ssh'"):
        launch.init_dist('ssh')


def test_no_launcher_opens_no_group():
    launch.init_dist('none')
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    'launcher,starter', [('pytorch', 'torchrun'), ('slurm', 'srun'), ('mpi', 'mpirun')]
)
def test_a_launcher_that_did_not_start_the_process_is_named(launcher, starter, monkeypatch):
    for name in launch._REQUIRED[launcher]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=rf'{launch._REQUIRED[launcher][0]}.*{starter}'):
        launch.init_dist(launcher)


def test_too_many_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    launch.check_gpus(2)
    with pytest.raises(ValueError, match='8 GPUs were asked for and this machine has 2'):
        launch.check_gpus(8)


def test_without_gpus_any_number_of_processes_is_allowed(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    launch.check_gpus(8)


def test_with_gpus_the_group_is_left_to_mmengine(monkeypatch):
    for name in launch._REQUIRED['pytorch']:
        monkeypatch.setenv(name, '0')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '1')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    launch.init_dist('pytorch')
    assert not torch.distributed.is_initialized()


@pytest.fixture
def lone_process(monkeypatch):
    """The environment of a run of one process; its group is closed at the end."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    values = dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    yield port
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ('dist_cfg', 'seconds'), [(None, 300), ({}, 300), ({'timeout': 7}, 7), ({'timeout': 0.5}, 0.5)]
)
def test_a_process_waits_as_long_as_the_config_says(dist_cfg, seconds, lone_process, monkeypatch):
    waits = []
    monkeypatch.setattr(
        torch.distributed, 'init_process_group', lambda backend, timeout: waits.append(timeout)
    )
    launch.init_dist('pytorch', dist_cfg)
    assert [wait.total_seconds() for wait in waits] == [seconds]


@pytest.mark.parametrize('timeout', [0, -1, '300', None, True])
def test_a_timeout_is_a_positive_number(timeout, lone_process):
    with pytest.raises(ValueError, match=f'env_cfg.dist_cfg.timeout must be .* got {timeout!r}'):
        launch.init_dist('pytorch', {'timeout': timeout})
    assert not torch.distributed.is_initialized()


def test_a_port_that_another_run_uses_is_named(lone_process):
    with socket.socket() as other:
        other.bind(('', lone_process))
        other.listen()
        with pytest.raises(ValueError, match=f'port {lone_process} of this machine is in use'):
            launch.init_dist('pytorch')


def test_processes_that_share_images_meet_on_gpus_too(lone_process, monkeypatch):
    # mmengine would open their group with a runner, and they have none.
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 8)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '8')
    monkeypatch.setenv('LOCAL_RANK', '3')
    taken = []
    monkeypatch.setattr(torch.cuda, 'set_device', taken.append)
    launch.init_sharing('pytorch')
    assert torch.distributed.get_backend() == 'gloo'
    assert taken == [3]


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    """What srun sets on the second of two hosts, and a folder for a stand-in of scontrol."""
    values = dict(PROCID=3, NTASKS=4, LOCALID=1, NTASKS_PER_NODE=2, NODELIST='node[07-08]')
    for name, value in values.items():
        monkeypatch.setenv(f'SLURM_{name}', str(value))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        # Set by the launcher; forgotten with the test.
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **settings: None)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=None)
    return tmp_path / 'scontrol'


def test_srun_says_who_a_process_is(slurm, monkeypatch):
    slurm.write_text('#!/bin/sh\necho "$@" >"$0.asked"\necho node07; echo node08\n')
    slurm.chmod(0o755)
    launch.init_dist('slurm')
    found = {name: os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR')}
    assert found == dict(RANK='3', WORLD_SIZE='4', LOCAL_RANK='1', MASTER_ADDR='node07')
    assert os.environ['MASTER_PORT'] == '29500'
    asked = slurm.with_name('scontrol.asked').read_text()
    assert asked == 'show hostnames node[07-08]\n'


def test_hosts_that_scontrol_does_not_name_are_asked_for(slurm):
    with pytest.raises(ValueError, match=r'scontrol does not name .*07-08.*set MASTER_ADDR'):
        launch.init_dist('slurm')
    slurm.write_text('#!/bin/sh\nexit 1\n')
    slurm.chmod(0o755)
    with pytest.raises(ValueError, match='set MASTER_ADDR'):
        launch.init_dist('slurm')


def test_the_first_process_knows_itself_before_the_group_is_open(monkeypatch):
    assert launch.is_first_process('none')
    for launcher, rank in (('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID')):
        monkeypatch.setenv(rank, '0')
        assert launch.is_first_process(launcher)
        monkeypatch.setenv(rank, '3')
        assert not launch.is_first_process(launcher)


PROCESS = """
import torch
from torch import nn
from mmengine.model import BaseModel
from mmvmamba.engine.launch import init_dist
from mmvmamba.engine.data_parallel import CPUDistributedDataParallel
init_dist('{launcher}')
rank = torch.distributed.get_rank()
assert torch.distributed.get_backend() == 'gloo'
class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
    def forward(self, x, mode):
        return dict(loss=(self.weight * x).sum())
net = CPUDistributedDataParallel(Net(), device_ids=[rank])
net(torch.tensor([rank + 1.0]), mode='loss')['loss'].backward()
total = net.module.weight.grad * 2
torch.distributed.barrier()
torch.distributed.destroy_process_group()
# The mean over the ranks of 1 and 2 is 1.5.
assert float(total) == 3.0, total
"""

VARIABLES = {
    'slurm': ['SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'],
    'mpi': ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'],
    'pytorch': ['RANK', 'WORLD_SIZE', 'LOCAL_RANK'],
}


@pytest.mark.slow
@pytest.mark.parametrize('launcher', VARIABLES)
def test_two_cpu_processes_share_gradients(launcher, tmp_path):
    # What a Slurm job has; torchrun and mpirun's users say the address themselves.
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\necho 127.0.0.1\n')
    scontrol.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(2):
        values = dict(zip(VARIABLES[launcher], (str(rank), '2', str(rank)), strict=True))
        values |= {'MASTER_PORT': str(port), 'SLURM_NODELIST': 'here'}
        if launcher != 'slurm':
            values['MASTER_ADDR'] = '127.0.0.1'
        values['PATH'] = f'{tmp_path}:{os.environ["PATH"]}'
        values |= {'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(REPOSITORY)}
        command = [sys.executable, '-c', PROCESS.format(launcher=launcher)]
        processes.append(subprocess.Popen(command, env=values, stderr=subprocess.PIPE, text=True))
    try:
        for process in processes:
            error = process.communicate(timeout=240)[1]
            assert process.returncode == 0, error
    finally:
        for process in processes:
            process.kill()
