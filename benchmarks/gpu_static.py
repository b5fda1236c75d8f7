"""Compiles the Triton kernels of the scan for a GPU that is not there, and reads what came out.

python benchmarks/gpu_static.py --out docs/benchmarks/gpu_static.md
python benchmarks/gpu_static.py --check
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

from common import markdown_table, write_report
from family_scans import CASES, launches_of
from hopper_model import (
    BYTES_PER_SECOND,
    CLOCK,
    PROCESSORS,
    QUARTERS,
    cycles_per_round,
    warps_per_processor,
)
from machine_code import Loop, disassemble, find_loops, resources, resources_of_amd

from mmvmamba.ops.triton_compile import Launch, compile_for

__all__ = ['Kernel', 'Pass', 'best_pass', 'measure_pass']

# Cycles of a quarter for an exponential of each lane.
EXP2_CYCLES = 8
RawText = argparse.RawDescriptionHelpFormatter
FACTS = """# The scan's kernels on an H100, without one

Compiled for compute capability 9.0, in bfloat16 as the families call them under autocast:
registers, spills, shared memory and instructions are **measured**, on the assembled code.
Microseconds are **predicted** by a crude model of a multiprocessor
(`benchmarks/hopper_model.py`). An element is one token, channel and state; mamba_ssm's times are
predicted in the same way. What an H200 then took is in [gpu.md](gpu.md), beside what was predicted.
For each pass, the configuration that is predicted to be the best. A time is never below what the
memory takes that is read or written, once, at 3.35 TB/s. `gate` is the sum over directions, which
is in no pass's time."""
LIMITS = """## What limits

- Backward kernels spill because eight states of four steps are held by each thread, beside what
  becomes of them. The loops over tiles have no instruction for local memory: what is spilled is
  read and written between chunks, where it costs next to nothing. Tried, and not kept, as more
  time is predicted: blocks of half as many channels spill nothing (MambaVision-T stage 3 210 us,
  not 139), as sums over channels then take twice the shuffles for each element; offsets of 32
  bits spill 244 bytes of S1 and 228 of MambaVision-T stage 3 (393 and 145 us, not 377 and 139); B
  and C kept in 16 bits until they are used change nothing, as the compiler does so by itself. On
  an earlier form, of 531 us for S1: two steps at a time spilled nothing (691 us); programs that
  own a block of channels each spilled a quarter less and won no time; with 168 registers and
  twelve warps (482 us) more was spilled than any cache of a multiprocessor holds.
- Vim's two directions look up the token of each step before they can ask for what it has. The
  model takes each look-up for one of the memory, though all but the first are in the nearest cache.
- S3 takes its time from two more kernels, for segments and for the link between them; an H200 gave
  it 1.45 times the speed of mamba_ssm.
- VMamba's backward pass of stage 1 at batch 64 has 1.45 programs of a warp for each quarter of a
  multiprocessor, so that the fullest quarters have two and the others wait for them; at later
  stages, or twice the batch, it is bound by the memory. Three segments would fill the quarters, but
  the pass that links them costs what is won. Tiles of 16 steps spill 792 bytes (424 us, not 360).
- Of VMamba's memory two thirds are the four directions' results, in float32, and their sum.
- mamba_ssm's kernels were compiled once, by nvcc 13.0; their source does not come with this."""
QUARTERS_OF_GPU = PROCESSORS * QUARTERS
MICRO = 1e6


class Kernel(NamedTuple):
    """A compiled kernel and what the model makes of one launch."""

    name: str
    config: str
    launch: Launch
    registers: int
    spilled: int
    shared_bytes: int
    loops: tuple[Loop, ...]
    tiles: int  # runs of each innermost loop in one program

    @property
    def warps(self) -> int:
        """Warps that a multiprocessor holds."""
        return warps_per_processor(self.registers, self.shared_bytes, self.launch.num_warps)

    @property
    def elements(self) -> int:
        """(token, channel, state) triples of a tile."""
        sizes = (self.launch.constants.get(x, 1) for x in ('STEPS', 'DIMS', 'STATE', 'SHARED'))
        product = 1
        for size in sizes:
            product *= size
        return product

    @property
    def kinds(self) -> Counter[str]:
        return sum((loop.kinds for loop in self.loops), Counter())

    def widths(self, kind: str) -> Counter[int]:
        return sum((loop.widths(kind) for loop in self.loops), Counter())

    @property
    def per_element(self) -> float:
        """Instructions of a thread for each element."""
        lanes = 32 * self.launch.num_warps
        return sum(self.kinds.values()) * lanes / self.elements

    @property
    def bounds(self) -> dict[str, float]:
        """Microseconds, were one thing alone to cost time."""
        tiles = self.launch.programs * self.launch.num_warps * self.tiles / QUARTERS_OF_GPU
        kinds = self.kinds
        exponentials = kinds['exp2'] + kinds['special']
        return {
            'issue': tiles * sum(kinds.values()) / CLOCK * MICRO,
            'exponentials': tiles * exponentials * EXP2_CYCLES / CLOCK * MICRO,
            'memory': self.launch.tensor_bytes / BYTES_PER_SECOND * MICRO,
        }

    @property
    def microseconds(self) -> float:
        """What the model predicts: warps of a quarter in turns, wave after wave; or the memory."""
        all_warps = self.launch.programs * self.launch.num_warps / QUARTERS_OF_GPU
        # The fullest quarter is waited for.
        warps = max(1, min(ceil(all_warps), self.warps // QUARTERS))
        waves = max(1.0, all_warps / warps)
        cycles = sum(cycles_per_round(loop.body, warps) for loop in self.loops)
        return max(waves * self.tiles * cycles / CLOCK * MICRO, self.bounds['memory'])


class Pass(NamedTuple):
    """A forward or backward pass with one configuration: its kernels, one after the other.

    The sum over directions, which others need as well, has its own row and is not in the pass.
    """

    config: str
    kernels: tuple[Kernel, ...]
    direction_sum: Kernel | None = None

    @property
    def microseconds(self) -> float:
        return sum(kernel.microseconds for kernel in self.kernels)

    @property
    def main(self) -> Kernel:
        return self.kernels[-1]


def measure_kernel(config: str, launch: Launch, architecture: int = 90) -> Kernel:
    """Compiles a launch and reads its machine code."""
    compiled = compile_for(launch, 'cuda', architecture)
    suffix = 'a' if architecture == 90 else ''
    registers, spilled = resources(compiled.asm['ptx'], f'sm_{architecture}{suffix}')
    loops = find_loops(disassemble(compiled.asm['cubin']))
    scans = tuple(loop for loop in loops if loop.is_innermost and loop.kinds['exp2'])
    name, shared = _short(launch.name), compiled.metadata.shared
    return Kernel(name, config, launch, registers, spilled, shared, scans, _tiles(launch))


def _short(name: str) -> str:
    return name.removeprefix('selective_scan_').removesuffix('_kernel')


def _tiles(launch: Launch) -> int:
    """How often a program runs its loops."""
    numbers = launch.numbers
    if 'STEPS' not in numbers:
        return numbers.get('segments', 1)
    # Segments end where chunks do, so a single one may be longer than the sequence.
    tiles = -(-min(numbers['segment_length'], numbers['length']) // numbers['STEPS'])
    blocks = -(-numbers['group_dim'] // numbers['DIMS'])
    return tiles * -(-blocks // numbers['splits']) if 'splits' in numbers else tiles


def measure_pass(case: str, backward: bool, training: bool = False) -> list[Pass]:
    """Every configuration of a pass of a case."""
    before: list[Kernel] = []
    tuned: list[Kernel] = []
    direction_sum = None
    for config, launch in launches_of(case, backward, training):
        kernel = measure_kernel(config, launch)
        if config:
            tuned.append(kernel)
        elif tuned:
            direction_sum = kernel
        else:
            before.append(kernel)
    return [Pass(x.config, (*before, x), direction_sum) for x in tuned]


def best_pass(passes: Sequence[Pass]) -> Pass:
    return min(passes, key=lambda x: x.microseconds)


# Microseconds of mamba_ssm's CUDA kernels, forward and backward, by the same model from their own
# machine code (mamba_ssm 2.2, nvcc 13.0, sm_90); None: nothing of theirs to compare with.
MAMBA_SSM = {
    'S1 (128, 384, 196, 16)': (377, 971),
    'S2 (64, 768, 196, 16)': (377, 971),
    'S3 (1, 384, 4200, 16)': (71, 172),
    'S4 (128, 160, 196, 8)': (92, 234),
    'MambaVision-T stage 3': (92, 234),
    'MambaVision-T stage 4, 512 windows': (116, None),
    'Vim-Ti 224, batch 64': (378, 970),
    'PlainMamba-L1 800x1333': (284, None),
}
# How often mamba_ssm's time ours should fit into it: forward, backward; backward of S1 and S2.
FORWARD_TARGET, BACKWARD_TARGET, BACKWARD_TARGET_LARGE = 1.5, 1.3, 1.5
# How often the time that memory alone would take a scan with a state of one number may.
MEMORY_TARGET = 1.5
# What a forward kernel and a backward kernel of a best configuration may spill, in bytes.
MOST_SPILLED = {False: 0, True: 64}
COLUMNS = (
    'case', 'pass', 'config', 'kernel', 'programs', 'registers', 'spilled bytes', 'shared bytes',
    'warps/SM', 'instructions/element', 'exp2/tile', 'shuffles/tile', 'loads/tile', 'us issue',
    'us exponentials', 'us memory', 'us predicted', 'mamba_ssm : ours',
)  # fmt: skip


def ratio_of(case: str, backward: bool, microseconds: float) -> float | None:
    theirs = MAMBA_SSM.get(case, (None, None))[backward]
    return None if theirs is None else theirs / microseconds


def target_of(case: str, backward: bool) -> float:
    if not backward:
        return FORWARD_TARGET
    return BACKWARD_TARGET_LARGE if case.startswith(('S1', 'S2')) else BACKWARD_TARGET


def rows_of(case: str, backward: bool, found: Pass) -> Iterator[dict[str, str]]:
    """A row for each kernel of a pass; that of the scan has the pass's sum."""
    summed = [] if found.direction_sum is None else [found.direction_sum]
    for kernel in (*found.kernels, *summed):
        bounds, is_main = kernel.bounds, kernel is found.main
        loads = ', '.join(f'{n} x {bits}' for bits, n in sorted(kernel.widths('load').items()))
        microseconds = f'{kernel.microseconds:.0f}'
        if is_main and len(found.kernels) > 1:
            microseconds += f', in all {found.microseconds:.0f}'
        ratio = ratio_of(case, backward, found.microseconds) if is_main else None
        is_scan = kernel.loops and kernel.name != 'carry'
        cells = (
            case, 'backward' if backward else 'forward', kernel.config, kernel.name,
            str(kernel.launch.programs), str(kernel.registers), str(kernel.spilled),
            str(kernel.shared_bytes), str(kernel.warps),
            f'{kernel.per_element:.1f}' if is_scan else '',
            *(f'{kernel.kinds[x]}' if kernel.loops else '' for x in ('exp2', 'shuffle')), loads,
            *(f'{bounds[x]:.0f}' for x in ('issue', 'exponentials', 'memory')), microseconds,
            '' if ratio is None else f'{ratio:.2f}',
        )  # fmt: skip
        yield dict(zip(COLUMNS, cells, strict=True))


def find_misses(case: str, backward: bool, best: Pass) -> list[str]:
    """What a pass misses of its targets, each in a sentence."""
    name = f'{case}, {"backward" if backward else "forward"}'
    misses = []
    ratio, target = ratio_of(case, backward, best.microseconds), target_of(case, backward)
    if ratio is not None and ratio < target:
        misses.append(f'{name}: {ratio:.2f} times as fast as mamba_ssm, wanted {target}')
    memory = best.main.bounds['memory']
    if case.startswith('VMamba') and best.microseconds > MEMORY_TARGET * memory:
        times = best.microseconds / memory
        misses.append(f'{name}: {times:.2f} times the bound of memory, wanted {MEMORY_TARGET}')
    for kernel in best.kernels:
        allowed = MOST_SPILLED[backward]
        if kernel.spilled > allowed:
            misses.append(f'{name}: {kernel.name} spills {kernel.spilled} bytes, allowed {allowed}')
    return misses


# The other GPUs that the kernels are compiled for, and those whose calls are compiled.
ELSEWHERE = (('cuda', 80), ('hip', 'gfx942'))
ELSEWHERE_CASES = (
    'S1 (128, 384, 196, 16)',
    'MambaVision-T stage 3',
    'Vim-Ti 224, batch 64',
    'PlainMamba-L1 800x1333',
    'VMamba-T stage 1, batch 64',
)
ELSEWHERE_COLUMNS = (
    'case',
    'kernel',
    'config',
    'GPU',
    'registers',
    'spilled bytes',
    'shared bytes',
)
ABOUT_ELSEWHERE = """## Other GPUs

What each kernel takes, with one configuration, on compute capability 8.0 (A100), by the assembler,
and on gfx942 (MI300), as Triton's compiler notes it: vector registers of a lane, those that it
spills, local data share. How fast they are there is not predicted: the model is Hopper's."""


def rows_elsewhere(case: str) -> Iterator[dict[str, str]]:
    """What each kernel of a case, in the first configuration, takes of the other GPUs."""
    seen = set()
    for backward in (False, True):
        for config, launch in launches_of(case, backward):
            if launch.name in seen:
                continue
            seen.add(launch.name)
            for backend, architecture in ELSEWHERE:
                compiled = compile_for(launch, backend, architecture)
                if backend == 'cuda':
                    found = resources(compiled.asm['ptx'], f'sm_{architecture}')
                else:
                    found = resources_of_amd(compiled.asm['amdgcn'])
                gpu = f'sm_{architecture}' if backend == 'cuda' else str(architecture)
                numbers = (*map(str, found), str(compiled.metadata.shared))
                cells = (case, _short(launch.name), config, gpu, *numbers)
                yield dict(zip(ELSEWHERE_COLUMNS, cells, strict=True))


def report_of(
    rows: Sequence[dict[str, str]], misses: Sequence[str], elsewhere: Sequence[dict[str, str]]
) -> str:
    missed = '\n'.join(f'- {miss}' for miss in misses) or 'None.'
    parts = [markdown_table(COLUMNS, rows), f'## Targets that are missed\n\n{missed}', LIMITS]
    if elsewhere:
        parts += [ABOUT_ELSEWHERE, markdown_table(ELSEWHERE_COLUMNS, elsewhere)]
    return '\n\n'.join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawText)
    parser.add_argument('--case', nargs='+', choices=CASES, default=list(CASES))
    parser.add_argument('--all-configs', action='store_true', help='not the best alone')
    parser.add_argument('--check', action='store_true', help='exit 1 where a target is missed')
    parser.add_argument('--out', type=Path, help='Markdown file; printed if not given')
    args = parser.parse_args()
    rows, misses, elsewhere = [], [], []
    for case in args.case:
        for backward in (False, True):
            passes = measure_pass(case, backward)
            best = best_pass(passes)
            misses += find_misses(case, backward, best)
            for found in passes if args.all_configs else [best]:
                rows += rows_of(case, backward, found)
            print(f'{case}: {best.microseconds:.0f} us', file=sys.stderr)
            if args.out:
                # A long run that is stopped leaves what it knows.
                write_report(FACTS, report_of(rows, misses, elsewhere), args.out)
    for case in (x for x in ELSEWHERE_CASES if x in args.case):
        elsewhere += rows_elsewhere(case)
    write_report(FACTS, report_of(rows, misses, elsewhere), args.out)
    if args.check and misses:
        print('\n'.join(misses), file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    main()
