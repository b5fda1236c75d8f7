"""How far it is: a bar on a terminal, a plain line now and then in a file."""

import sys

from tqdm import tqdm

__all__ = ['progress_bar']

# A file is not filled with more than a line in so many seconds.
SECONDS = 30
PLAIN = '{desc}{n_fmt} of {total_fmt} {unit}s, {elapsed} elapsed, {remaining} left'


class _Lines(tqdm):
    """Writes lines that end, which are neither drawn over nor redrawn."""

    disable: bool

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        self.fp.write(f'{msg or self}\n')
        self.fp.flush()
        return True

    def close(self) -> None:
        """Ends with how far it came."""
        if not self.disable and self.last_print_n != self.n:
            self.display()
        # The base class would end its bar with an empty line.
        self.disable = True


def progress_bar(
    total: int | None, unit: str, name: str = '', shown: bool = True, initial: int = 0
) -> tqdm:
    """Begins to show how far it is, on stderr.

    Args:
        total: How many there are, if that is known.
        unit: What one of them is.
        name: What is done.
        shown: Whether to show anything.
        initial: How many are done already.
    """
    what = dict(total=total, unit=unit, desc=f'{name}: ' if name else None, initial=initial)
    if sys.stderr.isatty():
        return tqdm(**what, disable=not shown)
    # Only the time counts, not how fast it went at first.
    rhythm = dict(mininterval=SECONDS, miniters=1)
    return _Lines(**what, **rhythm, disable=not shown, bar_format=PLAIN)
