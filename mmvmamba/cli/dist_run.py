"""Starts the processes of a distributed run with torchrun; ``tools/dist_*.sh`` call it.

    python -m mmvmamba.cli.dist_run GPUS SCRIPT [ARGUMENTS]

Several machines are described by the environment: NNODES (default 1), NODE_RANK (0), MASTER_ADDR
(127.0.0.1) and PORT (a free one; must be set for several machines). On a machine without GPUs
that many gloo processes are started.
"""

import os
import socket
import sys
from collections.abc import Mapping

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from mmvmamba.engine.launch import check_gpus

from .errors import UserError, user_errors

__all__ = ['free_port', 'main', 'torchrun_arguments']


def free_port() -> int:
    """Asks the system for a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


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
        UserError: If several machines are asked for without a common address and port.
    """
    nodes = int(env.get('NNODES', 1))
    missing = [name for name in ('NODE_RANK', 'MASTER_ADDR', 'PORT') if name not in env]
    if nodes > 1 and missing:
        raise UserError(f'NNODES={nodes} needs {", ".join(missing)} in the environment as well')
    return [
        f'--nnodes={nodes}',
        f'--node_rank={env.get("NODE_RANK", 0)}',
        f'--master_addr={env.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={env.get("PORT") or free_port()}',
        f'--nproc_per_node={num_processes}',
        script,
        *arguments,
        '--launcher=pytorch',
    ]


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
    try:
        torchrun(command)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        sys.stderr.write(f'error: process {rank} failed with exit code {failure.exitcode}\n')
        sys.exit(failure.exitcode if failure.exitcode > 0 else 1)


if __name__ == '__main__':
    main()
