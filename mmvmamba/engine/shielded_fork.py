"""Worker processes that are born with the requests to stop blocked."""

import signal
from multiprocessing.context import ForkContext, ForkProcess

__all__ = ['ShieldedForkContext']


class ShieldedForkProcess(ForkProcess):
    """A process that none of these signals reaches before it has said what it does with them.

    PyTorch gives its workers a handler of its own first of all, which would end them.
    """

    def start(self) -> None:
        """Starts the process; its mask of signals is that of the moment."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ShieldedForkContext(ForkContext):
    """The start method ``fork`` with such processes."""

    Process = ShieldedForkProcess
