"""What the benchmark scripts share: timing in turns, times of a model's parts, memory, tables.

Scripts that sit beside this file import it as ``common``. Times are taken in turns, run by run, so
that whatever else the machine does meets all that is compared alike; what counts is the median, and
the spread is the distance of the quartiles relative to it.
"""

import argparse
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import torch

from mmvmamba.apis.timing import (
    Run,
    measure,
    median,
    peak_memory,
    show_spread,
    spread,
    synchronize,
)

__all__ = [
    'PartTimes',
    'add_run_arguments',
    'command_line',
    'gpu_median_ms',
    'machine',
    'markdown_table',
    'measure',
    'median',
    'peak_memory',
    'processor',
    'set_threads',
    'show_ms',
    'show_spread',
    'spread',
    'synchronize',
    'take_turns',
    'write_report',
]


def take_turns(
    runs: Sequence[Run],
    device: torch.device | str = 'cpu',
    *,
    least: int = 5,
    seconds: float = 0.0,
    warmups: int = 1,
) -> list[list[float]]:
    """Seconds of each call, the runs in turns; who goes first changes from round to round.

    Args:
        runs: What is compared.
        device: Where they run.
        least: Rounds at least.
        seconds: Goes on until all rounds together took this long.
        warmups: Rounds before them that do not count.
    """
    for _ in range(warmups):
        for run in runs:
            run()
    times: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    numbers = list(range(len(runs)))
    while len(times[0]) < least or time.perf_counter() < end:
        # The second of two that share their inputs finds warmer caches.
        for number in reversed(numbers) if len(times[0]) % 2 else numbers:
            times[number].append(measure(runs[number], device))
    return times


# For so many cycles a GPU is kept busy while the host gets ahead of it.
HEAD_START = 50_000_000


def gpu_median_ms(run: Run, repeats: int, warmups: int = 10) -> float:
    """Median milliseconds of a call on a GPU, by its own clock: launching does not count.

    All calls wait in the GPU's queue behind an idle one, so that it never waits for the host. On a
    machine without a GPU, for a trial of a script, by the host's clock.
    """
    for _ in range(warmups):
        run()
    if not torch.cuda.is_available():
        return median([measure(run, 'cpu') for _ in range(repeats)]) * 1e3
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    torch.cuda._sleep(HEAD_START)
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    events[-1].synchronize()
    return median([x.elapsed_time(y) for x, y in pairwise(events)])


def show_ms(value: float | None) -> str:
    """A cell of a table; None is a case that could not run."""
    return 'not measured' if value is None else f'{value:.3f}' if value < 100 else f'{value:.0f}'


class PartTimes:
    """Seconds of the parts of a model in each call, each without the parts called inside it.

    Example:
        parts = PartTimes('cpu')
        parts.watch('backbone', model.backbone)
        parts.watch('post-processing', model.bbox_head, 'predict_by_feat')
        with parts.call():
            model.predict(...)
        parts.medians()  # {'backbone': ..., 'post-processing': ..., 'rest': ...}
    """

    def __init__(self, device: torch.device | str = 'cpu') -> None:
        self.device = device
        self.calls: list[dict[str, float]] = []
        self._stack: list[str] = []
        self._since = 0.0
        self._current: dict[str, float] = defaultdict(float)

    def watch(self, part: str, owner: object, method: str = 'forward') -> None:
        """Counts the time inside a method of an object as that of ``part``."""
        inner = getattr(owner, method)

        def timed(*args, **kwargs):
            with self._inside(part):
                return inner(*args, **kwargs)

        setattr(owner, method, timed)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call of the whole model, whose own time is that of ``'rest'``."""
        self._current = defaultdict(float)
        with self._inside('rest'):
            yield
        self.calls.append(dict(self._current))

    def medians(self) -> dict[str, float]:
        """Median seconds of each part over the calls; a part that did not run counts 0."""
        parts = dict.fromkeys(name for call in self.calls for name in call)
        return {name: median([call.get(name, 0.0) for call in self.calls]) for name in parts}

    @contextmanager
    def _inside(self, part: str) -> Iterator[None]:
        self._switch()
        self._stack.append(part)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    def _switch(self) -> None:
        """Books the time since the last switch on the part that was running."""
        synchronize(self.device)
        now = time.perf_counter()
        if self._stack:
            self._current[self._stack[-1]] += now - self._since
        self._since = now


def processor() -> str:
    """Name of the CPU."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def machine(device: torch.device | str = 'cpu') -> str:
    """The device that a table is about, in words."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.get_device_name()
    return f'{processor()} ({platform.machine()}), {torch.get_num_threads()} threads'


def command_line() -> str:
    """The command that started this script."""
    arguments = (f"'{x}'" if set(x) & set('*?[ ') else x for x in sys.argv[1:])
    return ' '.join(['python', f'benchmarks/{Path(sys.argv[0]).name}', *arguments])


def markdown_table(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of cells by column; a cell that a row lacks stays empty."""
    lines = [' | '.join(columns), ' | '.join('---' for _ in columns)]
    lines += [' | '.join(row.get(column, '') for column in columns) for row in rows]
    return '\n'.join(f'| {line} |' for line in lines)


def write_report(facts: str, table: str, out: Path | None) -> None:
    """Prints, or writes to a file, a sentence of facts, the command and the table."""
    text = '\n'.join([facts, '', '```bash', command_line(), '```', '', table, ''])
    if out:
        out.write_text(text)
    else:
        print(text)


def add_run_arguments(parser: argparse.ArgumentParser, seconds: float) -> None:
    """Adds the options that all scripts over models have."""
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--dtype', default='float32', choices=['float32', 'float16', 'bfloat16'])
    parser.add_argument('--threads', type=int, help="CPU threads; torch's choice if not given")
    parser.add_argument('--seconds', type=float, default=seconds, help='for each measurement')
    parser.add_argument('--out', type=Path, help='Markdown file; printed if not given')


def set_threads(threads: int | None) -> None:
    if threads:
        torch.set_num_threads(threads)
