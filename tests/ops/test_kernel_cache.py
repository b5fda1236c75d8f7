"""Compiled kernels are kept where nobody else can put code of theirs."""

import os
import stat
import tempfile

import pytest

from mmvmamba.ops.kernel_cache import private_temporary_folder

pytestmark = pytest.mark.skipif(not hasattr(os, 'getuid'), reason='the system has no user numbers')


@pytest.fixture
def expected(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    return tmp_path / f'kernels-{os.getuid()}'


def assert_private(folder):
    status = folder.lstat()
    assert stat.S_ISDIR(status.st_mode)
    assert status.st_uid == os.getuid()
    assert stat.S_IMODE(status.st_mode) == 0o700


def test_folder_is_private_and_found_again(expected):
    assert private_temporary_folder('kernels') == expected
    assert_private(expected)
    assert private_temporary_folder('kernels') == expected


@pytest.mark.parametrize('mode', [0o777, 0o770, 0o702])
def test_folder_that_others_may_write_to_is_passed_over(expected, mode):
    expected.mkdir()
    expected.chmod(mode)
    folder = private_temporary_folder('kernels')
    assert folder != expected
    assert_private(folder)


def test_folder_of_another_user_is_passed_over(expected, monkeypatch):
    expected.mkdir(mode=0o700)
    owner = os.getuid()
    monkeypatch.setattr(os, 'getuid', lambda: owner + 1)
    expected.rename(expected.with_name(f'kernels-{owner + 1}'))
    folder = private_temporary_folder('kernels')
    assert folder.name != f'kernels-{owner + 1}'


def test_link_to_a_private_folder_is_passed_over(expected, tmp_path):
    target = tmp_path / 'elsewhere'
    target.mkdir(mode=0o700)
    expected.symlink_to(target)
    folder = private_temporary_folder('kernels')
    assert folder.resolve() != target
    assert_private(folder)


def test_file_of_the_name_is_passed_over(expected):
    expected.write_text('')
    assert_private(private_temporary_folder('kernels'))
