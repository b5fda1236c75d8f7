import os
import signal
import time
from pathlib import Path

import pytest

from tests.fuzz import Outcome, mutate, run_cases, run_mutated

MIB = 1 << 20


def end_in_some_way(case: str) -> str:
    if case == 'signal':
        os.kill(os.getpid(), signal.SIGSEGV)
    if case == 'exit':
        os._exit(3)
    if case == 'hang':
        time.sleep(60)
    if case == 'memory':
        return f'{len(bytearray(os.urandom(MIB)) * 300)}'
    if case == 'untyped':
        raise KeyError(case)
    if case == 'refused':
        raise ValueError(case)
    return case


def count_zeros(path: Path) -> str:
    data = path.read_bytes()
    if data.strip(b'\0'):
        raise ValueError('there are other bytes')
    return str(len(data))


def test_mutate_is_determined_by_the_seed_and_damages():
    data = bytes(range(256)) * 20
    damaged = [mutate(data, seed) for seed in range(200)]
    assert damaged == [mutate(data, seed) for seed in range(200)]
    assert sum(one != data for one in damaged) >= 190
    assert {len(one) < len(data) for one in damaged} == {True, False}
    assert mutate(b'', 3) == mutate(b'', 3)


@pytest.mark.slow
def test_every_way_a_case_can_end_is_charged_to_it():
    cases = ['fine', 'signal', 'refused', 'exit', 'untyped', 'hang', 'memory', 'last']
    report = run_cases(end_in_some_way, cases, (ValueError,), seconds=3, memory=200 * MIB)
    assert report.outcomes[:6] == [
        Outcome('fine', 'returned', 'fine'),
        Outcome('signal', 'signal', 'SIGSEGV'),
        Outcome('refused', 'refused', 'ValueError: refused'),
        Outcome('exit', 'signal', 'exit code 3'),
        Outcome('untyped', 'untyped', "KeyError: 'untyped'"),
        Outcome('hang', 'hang', 'over 3 s'),
    ]
    assert [outcome.kind for outcome in report.outcomes[6:]] == ['memory', 'returned']
    assert [outcome.case for outcome in report.failures] == [
        'signal',
        'exit',
        'untyped',
        'hang',
        'memory',
    ]


@pytest.mark.slow
def test_mutated_files_are_read_and_the_undamaged_one_has_to_be():
    report = run_mutated(count_zeros, bytes(1000), 'x.bin', (ValueError,), count=300)
    assert report.counts.keys() == {'returned', 'refused'}
    assert report.counts.total() == 300
    with pytest.raises(AssertionError, match=r'the undamaged x\.bin was not read'):
        run_mutated(count_zeros, b'\1', 'x.bin', (ValueError,), count=1)
