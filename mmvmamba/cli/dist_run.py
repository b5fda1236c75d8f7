"""Starts the processes of a distributed run with torchrun; ``tools/dist_*.sh`` call it.

    python -m mmvmamba.cli.dist_run GPUS SCRIPT [ARGUMENTS]

Several machines are described by the environment: NNODES (default 1), NODE_RANK (0), MASTER_ADDR
(127.0.0.1) and PORT (a free one; must be set for several machines). On a machine without GPUs
that many gloo processes are started.
"""

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import FrameType

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig
from torch.distributed.run import main as torchrun

from mmvmamba.engine.launch import check_gpus
from mmvmamba.engine.stop_signal import EXIT_STOPPED, SIGNALS

from .errors import UserError, user_errors

__all__ = ['check_port', 'free_port', 'main', 'pass_on_signals', 'torchrun_arguments']

# What torchrun itself reacts to. One that cannot be told so reacts to SIGTERM as well.
SIGNALS_OF_TORCHRUN = (
    ['--signals-to-handle=SIGINT,SIGHUP,SIGQUIT']
    if 'signals_to_handle' in {field.name for field in fields(LaunchConfig)}
    else []
)


def free_port() -> int:
    """Asks the system for a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def check_port(port: str) -> None:
    """Refuses a port on which the processes could not meet, before any is started.

    Raises:
        UserError: If it is no port, or in use.
    """
    way_out = 'leave PORT out for a free one, or name another'
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f'PORT must be a number from 1 to 65535, got {port!r}; {way_out}')
    with socket.socket() as probe:
        # As torchrun does: a connection that was just closed is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', int(port)))
        except OSError as error:
            reason = 'in use' if error.errno == errno.EADDRINUSE else error.strerror
            raise UserError(f'port {port} of this machine: {reason}; {way_out}') from error


def torchrun_arguments(
    num_processes: int, script: str, arguments: list[str], env: Mapping[str, str]
) -> list[str]:
    """Puts together what torchrun is called with.

    Args:
        num_processes: Processes on this machine.
        script: The tool.
        arguments: Its arguments.
        env: Where NNODES, NODE_RANK, MASTER_ADDR and PORT are looked up.

    Raises:
        UserError: If several machines are asked for without a common address and port, or the
            port cannot be used.
    """
    nodes = int(env.get('NNODES', 1))
    missing = [name for name in ('NODE_RANK', 'MASTER_ADDR', 'PORT') if name not in env]
    if nodes > 1 and missing:
        raise UserError(f'NNODES={nodes} needs {", ".join(missing)} in the environment as well')
    if env.get('PORT') and int(env.get('NODE_RANK', 0)) == 0:
        check_port(env['PORT'])
    return [
        f'--nnodes={nodes}',
        f'--node_rank={env.get("NODE_RANK", 0)}',
        f'--master_addr={env.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={env.get("PORT") or free_port()}',
        f'--nproc_per_node={num_processes}',
        *SIGNALS_OF_TORCHRUN,
        script,
        *arguments,
        '--launcher=pytorch',
    ]


def pass_on_signals() -> None:
    """Has requests to stop reach the processes, which end after a checkpoint, in their own time.

    torchrun would kill them after 30 seconds, and end in a traceback itself.
    """
    for number in SIGNALS:
        signal.signal(number, _pass_on)


def _pass_on(number: int, frame: FrameType | None) -> None:
    children = _children()
    if not children:
        sys.exit(EXIT_STOPPED)
    # What it reports of processes that end before the others.
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    for child in children:
        os.kill(child, number)


def _children() -> list[int]:
    """Processes that this one started."""
    found = []
    for status in Path('/proc').glob('[0-9]*/stat'):
        try:
            # After the name, which may hold anything in its brackets: state, parent.
            parent = int(status.read_text().rpartition(')')[2].split()[1])
        except OSError:
            # It ended meanwhile.
            continue
        if parent == os.getpid():
            found.append(int(status.parent.name))
    return found


def main(argv: list[str] | None = None) -> None:
    """Starts the processes and ends with the exit code of the first that failed."""
    count, script, *arguments = sys.argv[1:] if argv is None else argv
    with user_errors():
        if not count.isdigit() or int(count) < 1:
            raise UserError(
                f'the number of GPUs must be a whole number of at least 1, got {count!r}'
            )
        check_gpus(int(count))
        command = torchrun_arguments(int(count), script, arguments, os.environ)
    # torchrun sets it to 1 with a warning; on the CPU the processes share the cores.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    pass_on_signals()
    try:
        torchrun(command)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in (EXIT_STOPPED, -signal.SIGTERM):
            sys.exit(EXIT_STOPPED)
        sys.stderr.write(f'error: process {rank} failed with exit code {failure.exitcode}\n')
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)


if __name__ == '__main__':
    main()
