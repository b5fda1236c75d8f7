"""Damages bytes by seed, and runs readers over the results in a child process under limits.

A reader is any function of a module that takes the path of a damaged file. It has to return, or to
raise one of the errors it documents. A signal, another error, a hang or a jump in memory is found,
charged to the seed that caused it, and the rest goes on in a new child::

    report = run_mutated(read_checkpoint, path.read_bytes(), 'x.pth', typed=(CheckpointError,))
    assert not report.failures, report
"""

import multiprocessing
import os
import random
import re
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

__all__ = ['Outcome', 'Report', 'mutate', 'mutation_count', 'run_cases', 'run_mutated']

GIB = 1 << 30
# A fresh interpreter that imports torch and the stack on a busy machine takes this long at most.
START_SECONDS = 180
FINE = ('returned', 'refused')


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: The case; the seed, if it is a mutation.
        kind: 'returned', 'refused' (by one of the documented errors), or a failure: 'untyped',
            'signal', 'hang', 'memory'.
        detail: The text that was returned, the error, or the name of the signal.
    """

    case: object
    kind: str
    detail: str = ''


@dataclass
class Report:
    """The outcomes of a run, printed as counts and the first failures."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.kind not in FINE]

    @property
    def counts(self) -> Counter:
        return Counter(outcome.kind for outcome in self.outcomes)

    def __str__(self) -> str:
        lines = [f'{outcome.case}: {outcome.kind}: {outcome.detail}' for outcome in self.failures]
        return '\n'.join([str(dict(self.counts)), *lines[:20]])


def mutation_count() -> int:
    """The mutations of each kind of file: 1,000, or what ``MMVMAMBA_FUZZ`` says."""
    return int(os.environ.get('MMVMAMBA_FUZZ', '1000'))


def mutate(data: bytes, seed: int) -> bytes:
    """Damages bytes in one to three ways; the same seed gives the same damage."""
    draw = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        draw.choice(_DAMAGES)(damaged, draw)
    return bytes(damaged)


def run_mutated(
    read: Callable[[Path], object],
    data: bytes,
    name: str,
    typed: tuple[type[Exception], ...],
    count: int | None = None,
    seconds: float = 20,
    memory: int = 2 * GIB,
) -> Report:
    """Writes damaged copies of a file, one after another, and has each read in a child.

    Args:
        read: A function of a module, or a ``functools.partial`` of one; gets the path of the copy,
            which is alone in its folder. A text that it returns is kept in the outcome.
        data: The file as it should be; reading that has to succeed.
        name: The name of the copies, such as 'data.mdb'.
        typed: The errors that the reader documents.
        count: How many; by default ``mutation_count()``.
        seconds: The longest that one copy may take.
        memory: The most, in bytes, by which the child may grow.
    """
    seeds = [None, *range(mutation_count() if count is None else count)]
    with tempfile.TemporaryDirectory() as folder:
        case = partial(_read_mutated, read, data, Path(folder, name))
        report = run_cases(case, seeds, typed, seconds, memory)
    whole = report.outcomes.pop(0)
    if whole.kind != 'returned':
        raise AssertionError(f'the undamaged {name} was not read: {whole}')
    return report


def run_cases(
    function: Callable[[object], object],
    cases: Iterable[object],
    typed: tuple[type[Exception], ...],
    seconds: float = 20,
    memory: int = 2 * GIB,
) -> Report:
    """Calls a function with every case in one child process, or in as many as cases kill.

    Args:
        function: A function of a module, or a ``functools.partial`` of one.
        cases: What it is called with, one at a time.
        typed: The errors that it documents.
        seconds: The longest that one case may take.
        memory: The most, in bytes, by which the child may grow.
    """
    cases = list(cases)
    outcomes: list[Outcome] = []
    while len(outcomes) < len(cases):
        outcomes += _run_child(function, cases[len(outcomes) :], typed, seconds, memory)
    return Report(outcomes)


def _run_child(
    function: Callable, cases: Sequence, typed: tuple, seconds: float, memory: int
) -> list[Outcome]:
    """Runs cases until all are done or one ends the child; returns at least one outcome."""
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, function, cases, typed, memory))
    child.start()
    sender.close()
    outcomes: list[Outcome] = []
    try:
        if not receiver.poll(START_SECONDS):
            raise RuntimeError(f'the child did not start within {START_SECONDS} s')
        receiver.recv()
        while len(outcomes) < len(cases):
            case = cases[len(outcomes)]
            if not receiver.poll(seconds):
                return [*outcomes, Outcome(case, 'hang', f'over {seconds} s')]
            kind, detail = receiver.recv()
            outcomes.append(Outcome(case, kind, detail))
            if kind == 'memory':
                break
    except EOFError:
        child.join()
        outcomes.append(Outcome(cases[len(outcomes)], 'signal', _exit_text(child.exitcode)))
    finally:
        child.kill()
        child.join()
        receiver.close()
    return outcomes


def _child(
    sender: Connection, function: Callable, cases: Sequence, typed: tuple, memory: int
) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    sender.send('started')
    start = None
    for case in cases:
        if start is None:
            start = _peak_memory()
            # Twice the allowance: what is only reserved is not counted, but has an end too.
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + 2 * memory,) * 2)
        kind, detail = _outcome(function, case, typed)
        growth = _peak_memory() - start
        if growth > memory:
            sender.send(('memory', f'grew by {growth / GIB:.1f} GiB ({kind} {detail})'))
            return
        sender.send((kind, detail))


def _outcome(function: Callable, case: object, typed: tuple) -> tuple[str, str]:
    try:
        returned = function(case)
    except typed as error:
        return 'refused', f'{type(error).__name__}: {error}'
    except Exception as error:  # noqa: BLE001  what else there is to find
        return 'untyped', f'{type(error).__name__}: {error}'
    return 'returned', returned if isinstance(returned, str) else ''


def _read_mutated(read: Callable[[Path], object], data: bytes, path: Path, seed: int | None):
    for old in path.parent.iterdir():
        old.unlink()
    path.write_bytes(data if seed is None else mutate(data, seed))
    return read(path)


def _exit_text(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f'exit code {code}'


def _peak_memory() -> int:
    # Not getrusage: its ru_maxrss begins with that of the parent.
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s*(\d+) kB', status)[1]) * 1024


def _address_space() -> int:
    return int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()


def _place(length: int, draw: random.Random) -> int:
    """A position, in half of the cases near an end: there is what describes the rest."""
    if length == 0:
        return 0
    near = min(length, 512)
    return draw.choice(
        (
            draw.randrange(length),
            draw.randrange(length),
            draw.randrange(near),
            length - 1 - draw.randrange(near),
        )
    )


def _range(data: bytearray, draw: random.Random) -> slice:
    start = _place(len(data), draw)
    return slice(start, start + draw.choice((1, 2, 4, 8, 16, 64, 512, 4096)))


def _flip(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 2, 8))):
        if data:
            data[_place(len(data), draw)] ^= 1 << draw.randrange(8)


def _overwrite(data: bytearray, draw: random.Random) -> None:
    place = _range(data, draw)
    size = len(data[place])
    data[place] = draw.choice((draw.randbytes(size), b'\xff' * size, b'9' * size, b'\x7f' * size))


def _truncate(data: bytearray, draw: random.Random) -> None:
    del data[_place(len(data), draw) :]


def _insert(data: bytearray, draw: random.Random) -> None:
    place = _range(data, draw)
    data[place.start : place.start] = draw.randbytes(place.stop - place.start)


def _delete(data: bytearray, draw: random.Random) -> None:
    del data[_range(data, draw)]


def _splice(data: bytearray, draw: random.Random) -> None:
    piece = data[_range(data, draw)]
    place = _place(len(data), draw)
    data[place : place + len(piece)] = piece


def _zero(data: bytearray, draw: random.Random) -> None:
    place = _range(data, draw)
    data[place] = bytes(len(data[place]))


def _duplicate(data: bytearray, draw: random.Random) -> None:
    place = _range(data, draw)
    data[place.stop : place.stop] = data[place] * draw.choice((1, 1, 2, 16))


_DAMAGES = (_flip, _overwrite, _truncate, _insert, _delete, _splice, _zero, _duplicate)
