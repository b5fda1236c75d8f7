"""How a program of a distributed run ends."""

import atexit
import os
import sys
import threading
from typing import NoReturn

__all__ = ['leave']


def leave(code: int) -> NoReturn:
    """Ends the process, as ``sys.exit`` does.

    After the last exchange over gloo a thread of torch wants Python once more, to give tensors
    back. On a busy machine it may come when Python is gone, and then aborts a run that went well.
    So all is done here that Python does for its user in the end, and its own end is left out.

    Args:
        code: The exit code.
    """
    # What has not been imported is not in use.
    dist = sys.modules.get('torch.distributed')
    if dist is None or not dist.is_available() or not dist.is_initialized():
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
