"""Kills processes at random moments."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable

__all__ = ['kill_count', 'run_and_kill', 'seconds_of']


def kill_count() -> int:
    """The kills of each kind of process: 5, or what ``MMVMAMBA_KILLS`` says."""
    return int(os.environ.get('MMVMAMBA_KILLS', '5'))


def seconds_of(function: Callable, *args) -> float:
    """How long a call takes in a forked child, which has to succeed."""
    start = time.monotonic()
    process = _start(function, args)
    process.join()
    if process.exitcode != 0:
        raise AssertionError(f'the call failed with exit code {process.exitcode}')
    return time.monotonic() - start


def run_and_kill(draw: random.Random, longest: float, function: Callable, *args) -> bool:
    """Calls a function in a forked child and kills that after a random time.

    Args:
        draw: Where the time comes from.
        longest: The most seconds that the child gets.
        function: What it calls.
        args: With what.

    Returns:
        Whether it was killed; False if it was done before.
    """
    process = _start(function, args)
    process.join(draw.uniform(0, longest))
    was_killed = process.is_alive()
    process.kill()
    process.join()
    if not was_killed and process.exitcode != 0:
        raise AssertionError(f'the call failed with exit code {process.exitcode}')
    return was_killed


def _start(function: Callable, args: tuple) -> multiprocessing.Process:
    # Forked: a fresh interpreter would spend most of its time on imports. No daemon, for it has
    # children of its own.
    process = multiprocessing.get_context('fork').Process(target=function, args=args)
    process.start()
    return process
