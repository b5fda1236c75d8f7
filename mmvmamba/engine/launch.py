"""Joining a distributed run, also on a machine without GPUs.

mmengine's own initialisation selects a CUDA device and dies where there is none; a process group
that exists already it leaves alone. So without a GPU this opens one over gloo, and with GPUs it
looks whether there are enough and leaves the rest to mmengine.
"""

import os
import subprocess
from collections.abc import Mapping
from datetime import timedelta

import torch
import torch.distributed as dist

__all__ = ['check_gpus', 'init_dist', 'init_sharing', 'is_first_process']

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')

# Seconds that a process waits for another. torch's default for gloo is half an hour, which is long
# for finding out that one hangs.
GLOO_TIMEOUT = 300
SHARING_TIMEOUT = timedelta(days=1)

_REQUIRED = {
    'pytorch': ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'MASTER_ADDR',
    ),
}
_STARTED_BY = {
    'pytorch': 'torchrun (tools/dist_train.sh and tools/dist_test.sh call it)',
    'slurm': 'srun (tools/slurm_train.sh and tools/slurm_test.sh call it)',
    'mpi': 'mpirun with MASTER_ADDR set',
}


def check_gpus(wanted: int) -> None:
    """Refuse to start more processes than this machine has GPUs; without any GPU all is allowed.

    Args:
        wanted: processes on this machine, one to a GPU.

    Raises:
        ValueError: if there are GPUs but fewer than ``wanted``.
    """
    there = torch.cuda.device_count()
    if 0 < there < wanted:
        visible = os.environ.get('CUDA_VISIBLE_DEVICES')
        note = '' if visible is None else f' (CUDA_VISIBLE_DEVICES={visible})'
        raise ValueError(
            f'{wanted} GPUs were asked for and this machine has {there}{note}; '
            f'ask for at most {there}'
        )


def init_dist(launcher: str, dist_cfg: Mapping | None = None) -> None:
    """Prepare the process group before mmengine's runner is built.

    Args:
        launcher: what started this process: 'none', 'pytorch', 'slurm' or 'mpi'.
        dist_cfg: ``env_cfg.dist_cfg`` of the config; its ``timeout`` is the number of seconds that
            a process waits for the others, 300 by default on CPUs.

    Raises:
        ValueError: if the launcher is unknown, did not start this process, asks for GPUs that are
            not there, or the timeout is no positive number, or the port is in use.
    """
    if not _has_to_open(launcher) or torch.cuda.is_available() or _has_other_accelerator():
        return
    _open_group(launcher, _timeout(dist_cfg or {}))


def init_sharing(launcher: str) -> None:
    """Joins processes that share work and exchange nothing on the way but that they are there.

    They meet over gloo on any machine, each with the GPU of its number if there are some, and wait
    a day for each other: shares may take hours, and not the same time.

    Args:
        launcher: as of ``init_dist``.

    Raises:
        ValueError: as ``init_dist`` does.
    """
    if not _has_to_open(launcher):
        return
    _open_group(launcher, SHARING_TIMEOUT)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))


def _has_to_open(launcher: str) -> bool:
    """Whether there is a process group to open, which this process can join."""
    if launcher not in LAUNCHERS:
        raise ValueError(f'launcher must be one of {LAUNCHERS}, got {launcher!r}')
    if launcher == 'none' or dist.is_initialized():
        return False
    missing = [name for name in _REQUIRED[launcher] if name not in os.environ]
    if missing:
        raise ValueError(
            f'launcher {launcher!r} needs the environment variables {", ".join(missing)}: '
            f'start with {_STARTED_BY[launcher]}, or use --launcher none for one process'
        )
    check_gpus(_processes_here(launcher))
    return True


def is_first_process(launcher: str) -> bool:
    """Whether this is the first process of the run, which is known before the group is open."""
    return launcher == 'none' or int(os.environ.get(_REQUIRED[launcher][0], 0)) == 0


def _timeout(dist_cfg: Mapping) -> timedelta:
    seconds = dist_cfg.get('timeout', GLOO_TIMEOUT)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise ValueError(
            f'env_cfg.dist_cfg.timeout must be a positive number of seconds, got {seconds!r}'
        )
    return timedelta(seconds=seconds)


def _open_group(launcher: str, timeout: timedelta) -> None:
    _export_rank(launcher)
    try:
        dist.init_process_group(backend='gloo', timeout=timeout)
    except RuntimeError as error:
        if 'EADDRINUSE' not in str(error):
            raise
        raise ValueError(
            f'port {os.environ["MASTER_PORT"]} of this machine is in use; name another in '
            'MASTER_PORT'
        ) from error


def _has_other_accelerator() -> bool:
    """Whether mmengine drives something that is neither CUDA nor the CPU (NPU, MLU, MUSA)."""
    from mmengine.device import get_device

    return get_device() not in ('cpu', 'mps')


def _processes_here(launcher: str) -> int:
    """Processes of this run on this machine; one where the launcher does not say."""
    name = {
        'pytorch': 'LOCAL_WORLD_SIZE',
        'slurm': 'SLURM_NTASKS_PER_NODE',
        'mpi': 'OMPI_COMM_WORLD_LOCAL_SIZE',
    }[launcher]
    return int(os.environ.get(name, 1))


def _export_rank(launcher: str) -> None:
    """Set what torch reads from the variables of Slurm or MPI, as mmengine does with GPUs."""
    env = os.environ
    if launcher == 'slurm':
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env.get('SLURM_LOCALID', '0')
        if 'MASTER_ADDR' not in env:
            env['MASTER_ADDR'] = _first_host(env['SLURM_NODELIST'])
    elif launcher == 'mpi':
        env['RANK'], env['WORLD_SIZE'] = env['OMPI_COMM_WORLD_RANK'], env['OMPI_COMM_WORLD_SIZE']
        env['LOCAL_RANK'] = env['OMPI_COMM_WORLD_LOCAL_RANK']
    env.setdefault('MASTER_PORT', '29500')


def _first_host(nodes: str) -> str:
    try:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"scontrol does not name the hosts of {nodes}; set MASTER_ADDR to the first one's"
        ) from error
    return hosts.stdout.split()[0]
