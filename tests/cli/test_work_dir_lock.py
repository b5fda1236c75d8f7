import errno
import fcntl
import os
import subprocess
import sys

import pytest

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.work_dir_lock import lock_work_dir

HOLDER = """
import fcntl, sys
from pathlib import Path
lock = Path(sys.argv[1]).open('a+')
fcntl.lockf(lock, fcntl.LOCK_EX)
lock.truncate(0)
lock.write(sys.argv[2])
lock.flush()
print('locked', flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold the lock of a work dir."""
    started = []

    def start(says):
        process = subprocess.Popen(
            [sys.executable, '-c', HOLDER, str(tmp_path / '.lock'), says],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == 'locked\n'
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_holder_of_a_work_dir_is_named(tmp_path, holder):
    holder('process 7 on elsewhere since 2026-01-01 00:00:00')
    with pytest.raises(UserError) as caught:
        lock_work_dir(str(tmp_path))
    assert str(caught.value) == (
        f'work dir {tmp_path} is in use by process 7 on elsewhere since 2026-01-01 00:00:00; '
        'wait for its end or name another with --work-dir'
    )


def test_a_holder_that_did_not_yet_say_who_it_is(tmp_path, holder):
    holder('')
    with pytest.raises(UserError, match='is in use by another process'):
        lock_work_dir(str(tmp_path))


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    process = holder('process 7 on elsewhere')
    process.kill()
    process.wait()
    with lock_work_dir(str(tmp_path)):
        said = (tmp_path / '.lock').read_text()
        assert said.startswith(f'process {os.getpid()} on {os.uname().nodename} since ')


def test_a_work_dir_is_free_again_after_the_run(tmp_path, holder):
    lock_work_dir(str(tmp_path)).close()
    assert holder('').poll() is None


def test_a_worker_that_outlives_its_run_holds_nothing(tmp_path, holder):
    lock = lock_work_dir(str(tmp_path))
    child = os.fork()
    if not child:
        import signal

        signal.pause()
        os._exit(0)
    try:
        lock.close()
        assert holder('').poll() is None
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_without_locks_in_the_file_system_the_run_goes_on(tmp_path, monkeypatch):
    def no_locks(file, flags):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'lockf', no_locks)
    assert lock_work_dir(str(tmp_path)) is None
