"""No file runs code, ends the process, or takes memory that it does not have."""

import os
from pathlib import Path

import pytest

from mmvmamba.checkpoint import CheckpointError, read_checkpoint
from tests.checkpoint.hostile_files import OPCODES, TRACE, WHOLE_FILES, write_all
from tests.fuzz import run_cases


def read(path: Path) -> str:
    os.chdir(path.parent)
    try:
        return repr(read_checkpoint(path))
    except CheckpointError as error:
        if '\n' in str(error) or not str(error).isprintable() or path.name not in str(error):
            raise AssertionError(f'a message that is no sentence on the file: {error}') from error
        raise


def test_there_are_enough_of_them():
    assert len(OPCODES) + len(WHOLE_FILES) >= 100


@pytest.mark.slow
def test_every_hostile_file_is_refused_in_a_sentence(tmp_path):
    paths = write_all(tmp_path)
    report = run_cases(read, paths, (CheckpointError,), seconds=20, memory=1 << 30)
    assert not report.failures, report
    assert not [outcome for outcome in report.outcomes if outcome.kind == 'returned'], report
    assert not (tmp_path / TRACE).exists()
