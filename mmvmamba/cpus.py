"""How many CPUs this process may use: by its affinity and by the quota of its control group."""

import math
import os
import sys
from pathlib import Path

__all__ = ['share_cpus', 'usable_cpus']

# Rounds in which a thread looks for work before it sleeps. GNU's OpenMP by itself takes 300 000,
# during which the thread that it waits for cannot run where others use the cores, too.
SPINS = '1000'


def share_cpus() -> None:
    """Has the threads of torch be as many as this process may use, and soon sleep where they wait.

    OpenMP reads both as torch is imported: later this does nothing. What the environment says
    already stays.
    """
    if 'torch' in sys.modules:
        return
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', SPINS)
    cpus = usable_cpus()
    if cpus < _allowed_cpus():
        os.environ.setdefault('OMP_NUM_THREADS', str(cpus))


def usable_cpus(root: str | Path = '/') -> int:
    """The CPUs that this process may use, at least 1; a part of one counts as a whole.

    A container sees all cores of its machine, whatever share of them it was given: threads by their
    number would take turns on that share, and wait for each other.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    quotas = [quota for folder in _groups(Path(root)) if (quota := _quota(folder)) is not None]
    return max(1, min([_allowed_cpus(), *map(math.ceil, quotas)]))


def _allowed_cpus() -> int:
    """The CPUs that the scheduler may put this process on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(root: Path) -> list[Path]:
    """Folders of the control groups that limit this process: its own and those above, v1 and v2."""
    try:
        lines = (root / 'proc/self/cgroup').read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        # number:controllers:path; version 2 names no controllers.
        _, controllers, path = line.split(':', 2)
        if controllers and 'cpu' not in controllers.split(','):
            continue
        mounts = ['cpu', 'cpu,cpuacct', 'cpuacct,cpu'] if controllers else ['', 'unified']
        own = Path(path.lstrip('/'))
        # In a container the path may be that of the host, and the group's files at the top.
        inner = [own, *own.parents]
        folders += [root / 'sys/fs/cgroup' / mount / folder for mount in mounts for folder in inner]
    return folders


def _quota(folder: Path) -> float | None:
    """CPUs that a control group may use at a time, None if it has no limit or is not there."""
    try:
        if (folder / 'cpu.max').exists():
            quota, period = (folder / 'cpu.max').read_text().split()
        else:
            quota = (folder / 'cpu.cfs_quota_us').read_text().strip()
            period = (folder / 'cpu.cfs_period_us').read_text().strip()
        if quota in ('max', '-1'):
            return None
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        # Not there, or in a form that no kernel writes today.
        return None
