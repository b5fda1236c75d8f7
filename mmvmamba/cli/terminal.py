"""What of a run's log is shown on the terminal; the log file has all of it."""

import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from tqdm import tqdm

import mmvmamba
from mmvmamba.engine.guarded_runner import GuardedRunner

__all__ = ['TerminalHandler', 'is_noise', 'quiet_terminal', 'to_log_only']

PACKAGE = str(Path(mmvmamba.__file__).parent)
PRINT_LOG = str(Path('mmengine/logging/logger.py'))

# Of what others log, this is for whoever watches: figures, tables, where a run goes on.
SHOWN = re.compile(
    r'(Epoch|Iter)\((train|val)\)|(Epoch|Iter)\(test\).* eta:'
    r'|The best checkpoint|resumed epoch|per class results|\n\+-'
)
# Lines of steps, which a progress line on a terminal says as well.
PROGRESS = re.compile(r'(Epoch|Iter)\((train\)|(val|test)\).* eta:)')

# Warnings of other projects about their own code, or about what our configs mean to do.
NOISE = re.compile(
    r'FileClient. will be deprecated'
    r'|HardDiskBackend. is the alias'
    r'|Detected call of `lr_scheduler\.step\(\)` before'  # the loops do so before the first step
    r'|Loads checkpoint by'
    r'|build_loss.* would be deprecated'
    r'|avg_non_ignore'
    r'|prefix.* is not set in metric class'
    r'|Gradient accumulative may (slightly )?decrease performance'
    r'|Grad strides do not match bucket view'
    r'|Could not find .*__init__.* in the registry|Failed to search registry with scope'
    r'|instance named of .* has been created'
    r'|pin_memory. argument is set as true but no accelerator'
    r'|torch\.meshgrid: in an upcoming release'
    r'|is not used in the config|`Visualizer` backend is not initialized|init_cfg'
    r'|The model and loaded state dict do not match exactly'
    r'|torch\.jit\.|pkg_resources is deprecated',
    re.IGNORECASE,
)


def is_noise(message: str) -> bool:
    """Whether a warning is one that nobody who runs this package can act on."""
    return NOISE.search(message) is not None


class TerminalHandler(logging.Handler):
    """Shows what is for whoever watches, above the progress line if there is one.

    Args:
        has_progress: Whether a progress line says what the lines of a training's steps say.
    """

    def __init__(self, has_progress: bool = False) -> None:
        super().__init__(logging.INFO)
        self.stream = sys.stdout
        self.has_progress = has_progress
        self.warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the message of a record, if it is shown."""
        try:
            text = record.getMessage()
            if not self._is_shown(record, text):
                return
            if record.levelno >= logging.WARNING:
                text = f'{record.levelname.lower()}: {text}'
            with tqdm.external_write_mode(file=self.stream):
                self.stream.write(f'{text.strip()}\n')
                self.stream.flush()
        except Exception:  # noqa: BLE001  what logging's own handlers do
            self.handleError(record)

    def _is_shown(self, record: logging.LogRecord, text: str) -> bool:
        if not getattr(record, 'on_terminal', True):
            return False
        if record.levelno >= logging.WARNING:
            return self._is_new_warning(text)
        if not is_main_process() or (self.has_progress and PROGRESS.match(text)):
            return False
        return SHOWN.match(text) is not None or _speaker(record).startswith(PACKAGE)

    def _is_new_warning(self, text: str) -> bool:
        if is_noise(text) or text in self.warned:
            return False
        self.warned.add(text)
        return True


def _speaker(record: logging.LogRecord) -> str:
    """The file that logged: where mmengine's ``print_log`` did, the one that called it."""
    if not record.pathname.endswith(PRINT_LOG):
        return record.pathname
    frame = sys._getframe()
    while frame.f_back is not None:
        if frame.f_code.co_name == 'print_log':
            return frame.f_back.f_code.co_filename
        frame = frame.f_back
    return record.pathname


def to_log_only(logger: MMLogger, text: str) -> None:
    """Writes to the log file what the terminal has been told already."""
    logger.info('%s', text, extra=dict(on_terminal=False))


@contextmanager
def quiet_terminal(verbose: bool, has_progress: bool) -> Iterator[None]:
    """Shows on the terminal, while the block runs, what concerns whoever watches.

    Python's warnings go into the log, from where those that can be acted on are shown, each once.

    Args:
        verbose: Whether to show the whole log instead.
        has_progress: See ``TerminalHandler``.
    """
    if verbose:
        yield
        return
    handler = TerminalHandler(has_progress)
    # Who logs before there is a run.
    MMLogger.get_current_instance().handlers[:1] = [handler]
    GuardedRunner.terminal_handler = handler
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _log_warning
            yield
    finally:
        GuardedRunner.terminal_handler = None


def _log_warning(message, category, filename, lineno, file=None, line=None) -> None:  # type: ignore[no-untyped-def]
    MMLogger.get_current_instance().warning(f'{message}')
