"""The CPUs that a process may use are those of its affinity and of its control group's quota."""

import os
import subprocess
import sys

import pytest

from mmvmamba import cpus
from mmvmamba.cpus import share_cpus, usable_cpus


@pytest.fixture(autouse=True)
def eight_allowed(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(8)), raising=False)


def tree(root, cgroup, **files):
    """Files of a machine whose control groups are ``cgroup``; 'name' stands for 'name' in them."""
    (root / 'proc/self').mkdir(parents=True)
    (root / 'proc/self/cgroup').write_text(cgroup)
    for path, text in files.items():
        file = root / 'sys/fs/cgroup' / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ('limit', 'expected'),
    [
        ('max 100000\n', 8),
        ('200000 100000\n', 2),
        ('150000 100000\n', 2),
        ('10000 100000\n', 1),
        ('6400000 100000\n', 8),
        ('nonsense\n', 8),
        ('100000 0\n', 8),
    ],
)
def test_quota_of_version_2(limit, expected, tmp_path):
    root = tree(tmp_path, '0::/app.slice\n', **{'app.slice/cpu.max': limit})
    assert usable_cpus(root) == expected


def test_the_tightest_group_above_counts(tmp_path):
    files = {'a/b/cpu.max': 'max 100000', 'a/cpu.max': '300000 100000'}
    assert usable_cpus(tree(tmp_path, '0::/a/b\n', **files)) == 3


def test_a_container_has_its_group_at_the_top(tmp_path):
    root = tree(tmp_path, '0::/docker/0123\n', **{'cpu.max': '400000 100000'})
    assert usable_cpus(root) == 4


@pytest.mark.parametrize('mount', ['cpu', 'cpu,cpuacct', 'cpuacct,cpu'])
@pytest.mark.parametrize(('quota', 'expected'), [('-1', 8), ('250000', 3)])
def test_quota_of_version_1(mount, quota, expected, tmp_path):
    cgroup = '3:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n1:cpuset:/\n'
    files = {'docker/0123/cpu.cfs_quota_us': quota, 'docker/0123/cpu.cfs_period_us': '100000\n'}
    root = tree(tmp_path, cgroup, **{f'{mount}/{name}': text for name, text in files.items()})
    assert usable_cpus(root) == expected


def test_affinity_counts(tmp_path, monkeypatch):
    root = tree(tmp_path, '0::/\n', **{'cpu.max': '400000 100000'})
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {1, 5, 7}, raising=False)
    assert usable_cpus(root) == 3


def test_a_system_without_control_groups_or_affinity(tmp_path, monkeypatch):
    assert usable_cpus(tmp_path) == 8
    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert usable_cpus(tmp_path) == 1


VARIABLES = ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')


@pytest.mark.parametrize(
    ('quota', 'given', 'expected'),
    [
        (8, {}, {'GOMP_SPINCOUNT': cpus.SPINS}),
        (2, {}, {'GOMP_SPINCOUNT': cpus.SPINS, 'OMP_NUM_THREADS': '2'}),
        (2, {'OMP_NUM_THREADS': '5', 'GOMP_SPINCOUNT': '7'}, {}),
        (8, {'OMP_WAIT_POLICY': 'ACTIVE'}, {}),
    ],
)
def test_threads_are_told_before_torch_is_there(quota, given, expected, monkeypatch):
    for name in VARIABLES:
        # Set first, so that what the test sets is taken back.
        monkeypatch.setenv(name, 'x')
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cpus, 'usable_cpus', lambda: quota)
    share_cpus()
    assert {name: os.environ[name] for name in VARIABLES if name in os.environ} == given
    monkeypatch.delitem(sys.modules, 'torch')
    share_cpus()
    found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    assert found == given | expected


@pytest.mark.slow
def test_a_program_that_imports_the_package_first_has_the_setting():
    program = 'import os, mmvmamba, torch; print(os.environ["GOMP_SPINCOUNT"])'
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    result = subprocess.run(
        [sys.executable, '-c', program], env=env, capture_output=True, text=True
    )
    assert result.stdout.strip() == cpus.SPINS, result.stderr
