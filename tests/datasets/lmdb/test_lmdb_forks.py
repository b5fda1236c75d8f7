"""Forking while threads read: what data loaders do in programs that have other threads."""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from mmvmamba.datasets import LMDBReader
from tests.fuzz import run_cases

CHILDREN = 20
SECONDS = 10
KEY = 'bee/3 x.JPEG'


def _end_of(child):
    """How a child ended: by its exit code, or by being killed because it hung."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 'hung'


def _read_in_child(reader, want):
    code = 1
    try:
        if reader.get(KEY) == want and reader.sample(13) == (KEY, 1):
            code = 0
    finally:
        os._exit(code)


def fork_while_threads_read(path):
    """Forks children that read, while threads of this process do; returns how they ended."""
    reader = LMDBReader(path)
    keys, want = list(reader.sample_keys()), reader.get(KEY)
    stop, failures = threading.Event(), []

    def read():
        try:
            while not stop.is_set():
                for index, key in enumerate(keys):
                    reader.get(key), reader.sample(index)
        except Exception as error:  # noqa: BLE001  whatever it is, a thread would keep it to itself
            failures.append(repr(error))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    ends = Counter()
    for _ in range(CHILDREN):
        child = os.fork()
        if child == 0:
            _read_in_child(reader, want)
        ends[_end_of(child)] += 1
    stop.set()
    for thread in threads:
        thread.join()
    return f'{dict(ends)} {failures}'


@pytest.mark.slow
def test_children_forked_while_threads_read_can_read(database):
    report = run_cases(fork_while_threads_read, [str(database)], typed=(), seconds=250)
    assert not report.failures, report
    assert report.outcomes[0].detail == f'{ {0: CHILDREN} } []'
