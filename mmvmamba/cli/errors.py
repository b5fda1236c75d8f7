"""How the tools report errors: a message that names the thing and the way out, and an exit code."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

__all__ = ['EXIT_CODES', 'EXIT_FOUND', 'SETUP_ERRORS', 'UserError', 'user_errors']

EXIT_FOUND = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

# One meaning each for the command and for every program in tools/.
EXIT_CODES = {
    0: 'all is well',
    EXIT_FOUND: 'it ran and found what it looks for: faults, wrong results; or it broke down',
    EXIT_ERROR: 'bad input or arguments; one line says which and the way out',
    EXIT_INTERRUPTED: 'interrupted by Ctrl-C',
    143: 'a training was stopped by SIGTERM or SIGUSR1 and left a checkpoint',
}

# What bad input raises while a run is set up. Once it runs, a ValueError is a bug and keeps its
# traceback.
SETUP_ERRORS = (OSError, ValueError, KeyError, ImportError)


class UserError(Exception):
    """Bad input. The message says what was wrong and what to do about it."""


@contextlib.contextmanager
def user_errors(
    debug: bool = False, also: tuple[type[Exception], ...] = SETUP_ERRORS
) -> Iterator[None]:
    """Ends the program with one line on stderr instead of a traceback.

    Args:
        debug: Lets every exception through, traceback and all.
        also: Exceptions that count as bad input beside ``UserError``.

    Raises:
        SystemExit: With code 2 for bad input, 130 for Ctrl-C.
    """
    bad_input: tuple[type[Exception], ...] = (UserError, *also)
    try:
        yield
    except bad_input as error:
        if debug:
            raise
        _leave(_describe(error), EXIT_ERROR)
    except KeyboardInterrupt:
        if debug:
            raise
        _leave('interrupted', EXIT_INTERRUPTED)


def _describe(error: Exception) -> str:
    if isinstance(error, UserError | ValueError):
        return _without_worker(str(error))
    if isinstance(error, KeyError):
        return str(error.args[0]) if error.args else 'KeyError'
    if isinstance(error, OSError) and error.filename:
        return f'{error.strerror}: {error.filename}'
    return _without_worker(str(error)) or type(error).__name__


def _without_worker(message: str) -> str:
    """A data loader's worker puts its traceback, which ends in the message, into the message."""
    if message.startswith('Caught ') and ' in DataLoader worker process ' in message:
        return message.strip().splitlines()[-1].partition(': ')[2]
    return message


def _leave(message: str, code: int) -> None:
    if int(os.environ.get('LOCAL_RANK', 0)) != 0:
        # If every process met the same error, torchrun ends all of them once local rank 0 has
        # spoken and left. One that is still here then met an error of its own.
        time.sleep(5)
    sys.stderr.write(f'error: {message}\n')
    sys.stderr.flush()
    sys.exit(code)
