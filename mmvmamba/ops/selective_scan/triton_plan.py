"""How the Triton backend cuts a scan into programs, and with which config it launches them."""

import os
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from math import ceil
from statistics import median
from typing import NamedTuple, TypeVar

import torch

from .arguments import ScanArgs

__all__ = [
    'BACKWARD_CONFIGS',
    'FORWARD_CONFIGS',
    'SEGMENT_CONFIG',
    'SEGMENT_STEPS',
    'SHARED_FORWARD_CONFIGS',
    'SHIPPED',
    'SINGLE_BACKWARD_CONFIGS',
    'SINGLE_FORWARD_CONFIGS',
    'WARPS_PER_PROCESSOR',
    'Config',
    'Plan',
    'cut',
    'run_tuned',
    'split',
]


class Config(NamedTuple):
    """How a kernel is launched.

    Attributes:
        width: States of a channel block: channels times padded state size. Wider blocks share B and
            C among more channels, narrower ones make more programs.
        steps: Steps of a tile.
        warps: Warps of a program.
        stages: Tiles that are on their way at once, the one that is computed included.
    """

    width: int
    steps: int
    warps: int
    stages: int = 1

    def __str__(self) -> str:
        return 'x'.join(map(str, self if self.stages > 1 else self[:3]))


# What is tried where it may be timed; the first serves on the CPU.
FORWARD_CONFIGS: tuple[Config, ...] = (
    Config(256, 8, 1), Config(512, 4, 1), Config(128, 8, 1), Config(512, 4, 1, 2),
)  # fmt: skip
# Where a program scans several directions, tiles on their way would not fit into registers.
SHARED_FORWARD_CONFIGS = tuple(config for config in FORWARD_CONFIGS if config.stages == 1)
SEGMENT_CONFIG = Config(256, 8, 1)
BACKWARD_CONFIGS: tuple[Config, ...] = (Config(256, 4, 1), Config(128, 4, 1), Config(512, 4, 2))
# Where a state is one number; the backward pass takes a chunk for a tile.
SINGLE_FORWARD_CONFIGS: tuple[Config, ...] = (
    Config(128, 8, 1),
    Config(128, 16, 1),
    Config(256, 16, 1),
)
SINGLE_BACKWARD_CONFIGS: tuple[Config, ...] = (Config(128, 8, 1), Config(256, 8, 1))
# What is taken where nothing may be timed: by kernel, and whether the programs of the first config
# fill the device (or scan several directions each). Of those measured on an H200 that lose the
# least (docs/benchmarks/gpu.md), for a state of one number as predicted; used on every generation.
SHIPPED = {
    ('forward', True): Config(512, 4, 1),
    ('forward', False): Config(128, 8, 1),
    # For a state of at most 8 numbers.
    ('narrow forward', True): Config(128, 8, 1),
    ('narrow forward', False): Config(128, 8, 1),
    ('backward', True): Config(256, 4, 1),
    ('backward', False): Config(128, 4, 1),
    ('single forward', True): Config(128, 8, 1),
    ('single forward', False): Config(128, 8, 1),
    ('single backward', True): Config(128, 8, 1),
    ('single backward', False): Config(128, 8, 1),
}
NARROW_STATE = 8
# 0: nothing is timed.
TUNE_VARIABLE = 'MMVMAMBA_TUNE'
# Programs of one warp for each multiprocessor: with fewer, long sequences are cut into segments.
WARPS_PER_PROCESSOR = 8
SEGMENT_STEPS = 64
# Segments cost a second pass, almost as long as the first: two would not pay.
FEWEST_SEGMENTS = 3
# A quarter of a multiprocessor runs two warps of the backward pass at once. One that is alone takes
# this part of the time that the two take: S5's step beside S1's in docs/benchmarks/gpu.md.
ALONE = 0.8
# A plan that is shorter by less is not worth its memory.
WORTHWHILE = 1.05
# Of nothing, before what is timed: a slow host gets its launches ready meanwhile.
HEAD_START = 10_000_000

Result = TypeVar('Result')

_tuned: dict[tuple, Config] = {}


class Plan(NamedTuple):
    """How a scan is cut: groups of channels with their own B and C, and segments of the length."""

    groups: int
    group_dim: int
    segments: int
    segment_length: int
    units: int  # programs of one channel block
    blocks: int  # blocks of channels in a unit, as wide as the first config has them
    warps: int  # warps that fill the device


@lru_cache(maxsize=256)
def cut(
    rows: int, groups: int, group_dim: int, length: int, multiple: int, width: int, warps: int,
    is_single: bool = False,
) -> Plan:  # fmt: skip
    blocks = -(-group_dim // width)
    programs = rows * groups * blocks
    wanted = warps // programs
    if wanted < FEWEST_SEGMENTS:
        # Up to twice the warps, where a second pass costs more arithmetic than memory.
        wanted = 1 if is_single else 2 * warps // programs
        if wanted <= FEWEST_SEGMENTS:
            wanted = 1
    segment_length = -(-length // min(wanted, -(-length // multiple)))
    segment_length = -(-segment_length // multiple) * multiple
    segments = -(-length // segment_length)
    units = rows * groups * segments
    return Plan(groups, group_dim, segments, segment_length, units, blocks, warps)


@lru_cache(maxsize=256)
def split(plan: Plan, blocks: int, warps: int) -> int:
    """How many programs of the backward pass share the blocks of a unit.

    As many as are done the soonest, as far as the fullest quarter of a multiprocessor decides; of
    those about as soon the fewest, for each has sums of its own. All have as many blocks, but for
    one.
    """
    quarters = 4 * plan.warps / WARPS_PER_PROCESSOR

    def time(each: int) -> float:
        """Of programs that own so many blocks one after the other."""
        programs = ceil(plan.units * ceil(blocks / each) * warps / quarters)
        pairs, alone = divmod(programs, 2)
        return each * (pairs + ALONE * alone)

    shortest = min(map(time, range(1, blocks + 1)))
    own = max(n for n in range(1, blocks + 1) if time(n) <= WORTHWHILE * shortest)
    return ceil(blocks / own)


def run_tuned(
    kernel: str,
    args: ScanArgs,
    plan: Plan,
    variant: int,
    configs: tuple[Config, ...],
    launch: Callable[[Config], Result],
) -> Result:
    """Launches with the fastest of the configs for inputs of this kind; returns what that returns.

    Nothing is timed where that would do harm: sums over channels follow the block width, so that
    they would differ from run to run (torch told to be deterministic) or from process to process
    (distributed training), and a graph that is being captured would hold what is timed. There a
    config that was timed before serves (in a graph alone), or that of the shipped table.
    """
    device = args.u.device
    if device.type != 'cuda':
        return launch(configs[0])
    if not _may_tune():
        return launch(_shipped(kernel, args.state, plan, variant))
    # Sizes by powers of two: images of many sizes must not tune again and again.
    sizes = (args.length.bit_length(), plan.units.bit_length(), plan.group_dim, args.state)
    kind = (device, args.u.dtype, args.orders is None, args.order_all, variant)
    key = (kernel, *kind, *sizes, args.u.stride(-1) == 1)
    if key not in _tuned:
        if torch.cuda.is_current_stream_capturing():
            return launch(_shipped(kernel, args.state, plan, variant))
        _tuned[key] = min(configs, key=lambda config: _milliseconds(lambda: launch(config)))
    return launch(_tuned[key])


def _may_tune() -> bool:
    if os.environ.get(TUNE_VARIABLE, '1') == '0' or torch.are_deterministic_algorithms_enabled():
        return False
    is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not (is_distributed and torch.distributed.get_world_size() > 1)


def _shipped(kernel: str, state: int, plan: Plan, variant: int) -> Config:
    """The config of the table for a GPU that the programs fill, or do not."""
    if kernel == 'forward' and state <= NARROW_STATE:
        kernel = 'narrow forward'
    return SHIPPED[kernel, variant > 1 or plan.units * plan.blocks >= plan.warps]


def _milliseconds(run: Callable[[], object], warmup: int = 3, repeats: int = 10) -> float:
    """The median of a few runs. Allocates nothing but what the runs do."""
    for _ in range(warmup):
        run()
    torch.cuda._sleep(HEAD_START)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    events[-1].synchronize()
    times: list[float] = [x.elapsed_time(y) for x, y in pairwise(events)]
    return median(times)
