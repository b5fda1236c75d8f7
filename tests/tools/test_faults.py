"""Trainings that are hurt at random moments and lose nothing beyond one checkpoint interval.

``MMVMAMBA_KILLS`` is how often each is hurt; ``make test-full`` does it 20 times. What was found is
written to stderr (``pytest -s``) for docs/reliability.md.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from mmvmamba.compat import prepare_stack
from mmvmamba.datasets.toy import make_toy_data
from mmvmamba.engine import latest_checkpoint

from .small_training import ROOT, Training, children, write_config

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get('MMVMAMBA_KILLS', 1))
STEPS_OF_EPOCH = 6
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A class folder of 24 images, six steps of four."""
    folder, _ = make_toy_data(tmp_path_factory.mktemp('data'), 'imagenet', num_train=24)
    return folder / 'train'


def state(work_dir):
    prepare_stack()
    checkpoint = torch.load(latest_checkpoint(str(work_dir)), weights_only=True)
    return checkpoint['meta']['iter'], checkpoint['state_dict']


def hurt(training, fault):
    """Hurts a training at a random moment after its first step."""
    training.wait_for_step()
    time.sleep(random.uniform(0, 0.6))
    fault(training)


def wait_for_part(work_dir):
    """Waits until a checkpoint is being written."""
    end = time.monotonic() + 10
    while not any(entry.name.endswith('.part') for entry in os.scandir(work_dir)):
        assert time.monotonic() < end, 'no checkpoint was written'


def report(fault, lost, allowed):
    sys.stderr.write(
        f'{fault}: injected {len(lost)}, most steps lost {max(lost)}, allowed {allowed}\n'
    )
    assert max(lost) <= allowed


def hurt_again_and_again(config, work_dir, fault, check, **settings):
    """Hurts a training, resumes it, hurts it again.

    Returns:
        For each time how many steps were lost.
    """
    lost, before = [], 0
    for _ in range(TIMES):
        with Training(config, work_dir, '--resume', **settings) as training:
            hurt(training, fault)
            code = training.wait()
            check(training, code)
        if lost or before:
            lost.append(before - training.resumed_at)
        else:
            assert training.resumed_at == 0
            lost.append(0)
        before = training.step
    with Training(config, work_dir, '--resume', **settings) as training:
        training.wait_for_step()
        lost.append(before - training.resumed_at)
        training.signal(signal.SIGKILL)
        training.wait()
    return lost[1:]


def killed(training, code):
    assert code == -signal.SIGKILL


@pytest.mark.parametrize('by_epoch', [False, True], ids=['steps', 'epochs'])
def test_a_killed_training_loses_one_interval_at_most(by_epoch, data, tmp_path):
    # Wide enough that writing takes a while.
    config = write_config(tmp_path / 'config.py', data, by_epoch, width=256)
    work_dir = tmp_path / 'run'
    torn = []

    def kill(training):
        if random.random() < 0.5:
            wait_for_part(work_dir)
        training.signal(signal.SIGKILL)
        training.wait()
        torn.extend(work_dir.glob('*.part'))

    lost = hurt_again_and_again(config, work_dir, kill, killed)
    report('SIGKILL', lost, STEPS_OF_EPOCH if by_epoch else 2)
    sys.stderr.write(f'of these while writing: {len(torn)}\n')
    assert not list(work_dir.glob('*.part'))
    assert len(list(work_dir.glob('*.pth'))) <= 3


@pytest.mark.parametrize('by_epoch', [False, True], ids=['steps', 'epochs'])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_training_that_is_asked_to_stop_loses_nothing(number, by_epoch, data, tmp_path):
    config = write_config(tmp_path / 'config.py', data, by_epoch)

    def stopped(training, code):
        assert code == 143, training.output[-3000:]
        assert f'stopped by {number.name} after {training.step} iterations' in training.output
        assert 'Traceback' not in training.output

    # To all processes, as Slurm does.
    lost = hurt_again_and_again(
        config, tmp_path / 'run', lambda training: training.signal(number), stopped
    )
    report(number.name, lost, 0)


def test_hurt_trainings_end_in_the_same_weights(data, tmp_path):
    """Killed once, asked to stop once, its newest checkpoint halved once."""
    config = write_config(tmp_path / 'config.py', data, by_epoch=True, length=12)
    with Training(config, tmp_path / 'whole') as training:
        assert training.wait() == 0
    work_dir = tmp_path / 'hurt'
    for number in (signal.SIGKILL, signal.SIGTERM):
        with Training(config, work_dir, '--resume') as training:
            hurt(training, lambda training, number=number: training.signal(number))
            training.wait()
    torn = latest_checkpoint(str(work_dir))
    os.truncate(torn, os.path.getsize(torn) // 2)
    with Training(config, work_dir, '--resume') as training:
        assert training.wait() == 0
        assert f'passed over a checkpoint: {torn} ' in training.output
    (steps, expected), (steps_again, got) = state(tmp_path / 'whole'), state(work_dir)
    assert steps == steps_again == 12 * STEPS_OF_EPOCH
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name


def test_a_killed_worker_is_one_sentence(data, tmp_path):
    config = write_config(tmp_path / 'config.py', data, by_epoch=False)

    def one_sentence(training, code):
        assert code == 2, training.output[-3000:]
        assert re.search(
            r'^error: a data loader worker( \(process \d+\))? was ended from outside.*--resume$',
            training.output,
            re.MULTILINE,
        )
        assert 'Traceback' not in training.output

    def kill_worker(training):
        os.kill(children(training.pid)[-1], signal.SIGKILL)

    lost = hurt_again_and_again(config, tmp_path / 'run', kill_worker, one_sentence)
    report('dead worker', lost, 2)


def test_two_processes_stop_after_the_same_step(data, tmp_path):
    config = write_config(tmp_path / 'config.py', data, by_epoch=True)

    def stopped(training, code):
        assert code == 143, training.output[-3000:]
        assert training.output.count('stopped by SIGTERM') == 1
        assert 'Traceback' not in training.output
        training.processes[1].join(60)
        assert training.processes[1].exitcode == 143

    lost = hurt_again_and_again(
        config,
        tmp_path / 'run',
        lambda training: os.kill(training.processes[1].pid, signal.SIGTERM),
        stopped,
        processes=2,
    )
    report('SIGTERM, two processes', lost, 0)


def test_a_dead_process_ends_the_others_in_a_sentence(data, tmp_path):
    config = write_config(tmp_path / 'config.py', data, by_epoch=False)

    def one_sentence(training, code):
        assert code == 2, training.output[-3000:]
        assert 'error: another process of the run ended without a word' in training.output
        assert 'Traceback' not in training.output

    lost = hurt_again_and_again(
        config,
        tmp_path / 'run',
        lambda training: training.signal(signal.SIGKILL, rank=1),
        one_sentence,
        processes=2,
    )
    report('dead process', lost, 2)


def test_a_stopped_process_ends_the_others_in_a_sentence(data, tmp_path):
    config = write_config(tmp_path / 'config.py', data, by_epoch=False)
    with config.open('a') as text:
        text.write('env_cfg = dict(dist_cfg=dict(timeout=3))\n')

    def one_sentence(training, code):
        assert code == 2, training.output[-3000:]
        assert 'error: another process of the run did not answer for 3 s' in training.output
        assert 'Traceback' not in training.output

    lost = hurt_again_and_again(
        config,
        tmp_path / 'run',
        lambda training: training.signal(signal.SIGSTOP, rank=1),
        one_sentence,
        processes=2,
    )
    report('stopped process', lost, 2)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, and what changes the size of that disk."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(*options):
        command = ['mount', '-t', 'tmpfs', '-o', ','.join(options), 'tmpfs', str(folder)]
        return subprocess.run(command, capture_output=True).returncode

    if os.geteuid() or mount('size=1m'):
        pytest.skip('mounting a small disk needs root')
    yield folder, lambda megabytes: mount('remount', f'size={megabytes}m')
    subprocess.run(['umount', str(folder)], check=True)


def test_a_full_disk_costs_one_interval_and_is_one_sentence(data, tmp_path, small_disk):
    folder, resize = small_disk
    config = write_config(tmp_path / 'config.py', data, by_epoch=False, width=256, keep=-1)
    size, lost, before = 8, [], 0
    for _ in range(TIMES + 1):
        # Room for two or three checkpoints more.
        size += random.randint(14, 22)
        resize(size)
        with Training(config, folder / 'run', '--resume') as training:
            assert training.wait() == 2, training.output[-3000:]
        lost.append(before - training.resumed_at)
        before = training.step
        kept = os.path.basename(latest_checkpoint(str(folder / 'run')))
        errors = re.findall('^error: .*', training.output, re.MULTILINE)
        assert len(errors) == 1
        assert 'No space left on device' in errors[0]
        assert f'{kept} is kept' in errors[0]
        assert 'Traceback' not in training.output
        assert not list(folder.rglob('*.part'))
    report('full disk', lost[1:], 2)


def test_a_small_shared_memory_is_one_sentence(data, tmp_path):
    small = ('unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"')
    if subprocess.run([*small, 'sh', 'true'], capture_output=True).returncode:
        pytest.skip('mounting a small /dev/shm needs root')
    config = write_config(tmp_path / 'config.py', data, by_epoch=False)
    config.write_text(config.read_text().replace('scale=(32, 32)', 'scale=(256, 256)'))
    command = ('sh', sys.executable, 'tools/train.py', str(config), '--work-dir', str(tmp_path))
    done = subprocess.run(
        [*small, *command], cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(
        r'^error: /dev/shm is too small .* they need 0\.8 MiB, 0\.\d MiB is free.*num_workers=0',
        done.stderr,
        re.MULTILINE,
    )


def test_a_second_training_in_a_work_dir_is_refused_and_names_the_first(data, tmp_path):
    config = write_config(tmp_path / 'config.py', data, by_epoch=True)
    with Training(config, tmp_path / 'run') as first:
        first.wait_for_step()
        with Training(config, tmp_path / 'run') as second:
            assert second.wait() == 2
        assert second.output.splitlines()[-1].startswith(
            f'error: work dir {tmp_path / "run"} is in use by process {first.pid} on '
        )
        assert first.processes[0].is_alive()


def test_validating_in_two_processes_leaves_no_folder_behind(data, tmp_path):
    config = write_config(tmp_path / 'config.py', data, by_epoch=True, length=1)
    with Training(config, tmp_path / 'run', processes=2) as training:
        assert training.wait() == 0, training.output[-3000:]
    assert 'accuracy/top1' in training.output
    left = {path.name for path in tmp_path.iterdir()} | {
        path.name for path in (tmp_path / 'run').glob('*/*')
    }
    assert not left & {'.dist_test', 'results'}
