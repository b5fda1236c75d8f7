"""Locks across processes, and files that get their names last."""

import multiprocessing
import os
import re
import socket

import pytest

from mmvmamba.files import hold_lock, put_in_place


def _hold(path, held, release):
    with hold_lock(path):
        held.set()
        release.wait(60)


def test_a_lock_names_the_process_and_the_machine_that_hold_it(tmp_path):
    context = multiprocessing.get_context('fork')
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path / 'a.lock', held, release))
    process.start()
    assert held.wait(60)
    holder = re.escape(f'process {process.pid} on {socket.gethostname()} holds')
    with pytest.raises(BlockingIOError, match=holder), hold_lock(tmp_path / 'a.lock'):
        pass
    release.set()
    process.join()
    with hold_lock(tmp_path / 'a.lock'):
        pass
    assert os.listdir(tmp_path) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    context = multiprocessing.get_context('fork')
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path / 'a.lock', held, release))
    process.start()
    assert held.wait(60)
    process.kill()
    process.join()
    assert os.listdir(tmp_path) == ['a.lock']
    with hold_lock(tmp_path / 'a.lock'):
        assert (tmp_path / 'a.lock').read_text().startswith(f'process {os.getpid()} on ')


def test_a_lock_file_that_its_holder_removed_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, the former holder ends and a third one comes."""
    lock, other = tmp_path / 'a.lock', tmp_path / 'other'
    lock.touch()
    from mmvmamba import files

    tried = []

    def try_lock(file):
        if not tried:
            lock.unlink()
            other.touch()
            other.rename(lock)
        tried.append(os.fstat(file.fileno()).st_ino)
        return True

    monkeypatch.setattr(files, '_try_lock', try_lock)
    with hold_lock(lock, seconds=10):
        assert tried[-1] == lock.stat().st_ino and len(tried) == 2


def test_a_finished_file_replaces_the_one_of_its_name(tmp_path, monkeypatch):
    (tmp_path / 'a').write_bytes(b'old')
    (tmp_path / 'a.part').write_bytes(b'new')
    calls = []
    monkeypatch.setattr('os.fsync', lambda handle: calls.append(os.fstat(handle).st_mode))
    put_in_place(tmp_path / 'a.part', tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == b'new' and os.listdir(tmp_path) == ['a']
    # The file, and then the folder.
    assert [bool(mode & 0o100000) for mode in calls] == [True, False]
