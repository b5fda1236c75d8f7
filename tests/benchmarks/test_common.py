"""What the benchmark scripts share; no figure here depends on the machine."""

import importlib.util
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def common():
    spec = importlib.util.spec_from_file_location('common', BENCHMARKS / 'common.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clock(common, monkeypatch):
    """A clock that goes on only when it is told to."""
    now = [0.0]

    class Time:
        perf_counter = staticmethod(lambda: now[0])

    monkeypatch.setattr(common, 'time', Time)
    monkeypatch.setattr('mmvmamba.apis.timing.time', Time)
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_time_of_a_part_is_not_counted_again_in_the_part_around_it(common, clock):
    class Model:
        def head(self):
            clock(2)
            self.nms()
            clock(1)

        def nms(self):
            clock(5)

    model, parts = Model(), common.PartTimes()
    parts.watch('head', model, 'head')
    parts.watch('post-processing', model, 'nms')
    for outside in (1, 2, 30):
        with parts.call():
            clock(outside)
            model.head()
    assert parts.medians() == {'rest': 2, 'head': 3, 'post-processing': 5}


def test_turns_change_who_goes_first_and_count_no_warm_up(common, clock):
    calls = []

    def run(name, seconds):
        calls.append(name)
        clock(seconds)

    times = common.take_turns([lambda: run('a', 1), lambda: run('b', 3)], least=2, warmups=1)
    assert calls == ['a', 'b', 'a', 'b', 'b', 'a']
    assert times == [[1, 1], [3, 3]]


def test_turns_go_on_for_as_long_as_asked(common, clock):
    (times,) = common.take_turns([lambda: clock(1)], least=2, seconds=5, warmups=0)
    assert len(times) == 5


def test_spread_is_relative_to_the_median(common):
    assert common.spread([10.0, 10.0, 10.0, 10.0]) == 0
    assert common.spread([8.0, 10.0, 12.0]) == pytest.approx(0.4)
    assert common.show_spread([8.0, 10.0, 12.0]) == '40%'


def test_a_single_run_has_no_spread(common):
    assert common.show_spread([8.0]) == 'one run'


def test_peak_memory_is_that_of_the_largest_moment(common):
    def run():
        first = torch.empty(2**20, dtype=torch.uint8)
        del first
        torch.empty(2**21, dtype=torch.uint8)

    run()
    assert common.peak_memory(run) == pytest.approx(2, abs=0.1)


def test_table_leaves_absent_cells_empty(common):
    table = common.markdown_table(['a', 'b'], [{'a': '1', 'b': '2'}, {'a': '3'}])
    assert table.splitlines() == ['| a | b |', '| --- | --- |', '| 1 | 2 |', '| 3 |  |']


def run_gpu_script(*arguments, **environment):
    return subprocess.run(
        ['bash', str(BENCHMARKS / 'gpu.sh'), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


needs_bash = pytest.mark.skipif(sys.platform == 'win32', reason='needs bash')


@needs_bash
@pytest.mark.parametrize(('call', 'most'), [('first', 9), ('second', 3)])
def test_gpu_script_names_what_it_would_run_and_how_long(call, most):
    run = run_gpu_script(call, '--dry-run')
    assert run.returncode == 0, run.stderr
    scripts = [word for word in run.stdout.split() if word.endswith('.py')]
    assert len(scripts) >= 3
    assert all((BENCHMARKS.parent / script).is_file() for script in scripts)
    minutes = float(re.search(r'at most ([0-9.]+) minutes in all', run.stdout).group(1))
    assert 0 < minutes <= most


@needs_bash
def test_gpu_script_refuses_what_it_does_not_know():
    run = run_gpu_script('third')
    assert run.returncode == 2
    assert run.stderr.strip().endswith('[first|second] [--dry-run|--toy], got third')


@needs_bash
def test_gpu_script_notes_a_failure_and_goes_on(tmp_path):
    stand_in = tmp_path / 'a python'
    stand_in.write_text(
        '#!/bin/sh\ncase "$*" in *gpu_selective_scan*) exit 7;; -c*) exit 0;; esac\necho "ran $*"\n'
    )
    stand_in.chmod(0o755)
    report = tmp_path / 'gpu.md'
    environment = dict(PYTHON=str(stand_in), REPORT=str(report))
    run = run_gpu_script(**environment)
    assert run.returncode == 1, run.stderr
    page = report.read_text()
    command = 'python benchmarks/gpu_selective_scan.py --repeats 20'
    assert f'not measured: `{command}` ended with exit code 7.' in page
    assert 'ran benchmarks/gpu_models.py latency throughput' in page
    assert page.count('\nran ') == page.count('\n## ') - 1 == 3
    # The second call goes on with the same page.
    run = run_gpu_script('second', **environment)
    assert report.read_text().startswith(page)
    assert 'ran benchmarks/gpu_models.py training' in report.read_text()


def test_kernels_are_compiled_by_processes_that_see_no_gpu(monkeypatch):
    pytest.importorskip('triton', reason='triton is not installed')
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ('CUDA_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES'):
        monkeypatch.setenv(name, '0')
    monkeypatch.setattr(os, 'of_the_parent', True, raising=False)
    with import_module('gpu_compile').pool_without_gpu(1) as pool:
        assert pool.submit(os.getenv, 'CUDA_VISIBLE_DEVICES').result(timeout=120) == ''
        # A fork would have the CUDA context of the one that it comes from.
        assert not pool.submit(eval, "hasattr(__import__('os'), 'of_the_parent')").result(120)
    for name in ('family_scans', 'gpu_compile'):
        sys.modules.pop(name, None)


@needs_bash
@pytest.mark.full
def test_all_that_the_gpu_script_calls_runs_at_toy_sizes(tmp_path):
    report = tmp_path / 'gpu.md'
    for call in ('first', 'second'):
        run = run_gpu_script(call, '--toy', PYTHON=sys.executable, REPORT=str(report))
        assert run.returncode == 0, f'{run.stderr[-3000:]}\n{report.read_text()}'
    page = report.read_text()
    assert '| vmamba_tiny_s1l8 | training step | 64 | 1 |' in page
    assert 'a scan ran on ' in page
    assert 'Traceback' not in page
