"""A crude model of one quarter of a Hopper multiprocessor: what a loop costs when warps share it.

Each warp issues its instructions in order; one instruction issues in a cycle; units take several
cycles for one of them, and a result can be used after a delay. Absolute times are right within a
third, ratios better. Nothing here is measured: delays are those of published microbenchmarks.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from machine_code import Instruction

__all__ = [
    'BYTES_PER_SECOND',
    'CLOCK',
    'PROCESSORS',
    'QUARTERS',
    'cycles_per_round',
    'warps_per_processor',
]

# An H100 SXM under load.
CLOCK, PROCESSORS, QUARTERS = 1.755e9, 132, 4
BYTES_PER_SECOND = 3.35e12
REGISTERS, MOST_WARPS, MOST_BLOCKS, SHARED_BYTES = 65536, 64, 32, 227 * 1024
LOAD_DELAY = 400

# Pattern, unit, cycles that the unit is taken, cycles until the result can be used.
UNITS = (
    (r'MUFU|F2F|I2F|F2I', 'special', 8, 20),
    (r'FFMA|FMUL|FADD|HFMA2|HADD2|HMUL2', 'float', 1, 4),
    (r'IMAD', 'integer multiply', 2, 5),
    # A copy into shared memory: what waits for it is a tile away.
    (r'LDGSTS', 'memory', 4, 10),
    (r'LDG|LD\.', 'memory', 4, LOAD_DELAY),
    (r'LDL', 'memory', 4, 35),
    (r'STG|ST\.|STL|ATOM|RED', 'memory', 4, 10),
    (r'(LDS|STS).*128', 'memory', 8, 28),
    (r'LDS|STS|SHFL', 'memory', 4, 26),
    (r'BAR', 'control', 1, 20),
    (r'BRA', 'control', 1, 12),
    (r'LDC|S2R|R2UR|S2UR', 'control', 2, 28),
    (r'EXIT|NOP|BSYNC|BSSY|WARPSYNC', 'control', 1, 2),
    (r'U[A-Z]', 'control', 2, 10),
)
OTHERS = ('other arithmetic', 2, 5)
_NAMES = re.compile(r'\b(?:U?R\d+|U?P\d)\b')
_NO_RESULT = re.compile(
    r'LDGSTS|LDGDEPBAR|STG|STS|STL|ST\.|RED|BRA|EXIT|NOP|BAR|BSYNC|WARPSYNC|BSSY|DEPBAR'
)
_TWO_RESULTS = re.compile(r'ISETP|FSETP|PLOP|IADD3|SHFL|LOP3|UISETP|LEA')


class _Step(NamedTuple):
    unit: str
    taken: int
    delay: int
    reads: frozenset[str]
    writes: frozenset[str]
    waits: bool  # the warp goes on when the result is there


def warps_per_processor(registers: int, shared_bytes: int, warps: int) -> int:
    """Warps of a kernel that a multiprocessor holds at once; a program has ``warps`` of them."""
    # Registers are given out to warps in units of 256.
    by_registers = REGISTERS // (-(-registers * 32 // 256) * 256) // warps
    by_shared = SHARED_BYTES // (shared_bytes + 1024)
    return min(by_registers, by_shared, MOST_WARPS // warps, MOST_BLOCKS) * warps


def cycles_per_round(body: Sequence[Instruction], warps: int, rounds: int = 3) -> float:
    """Cycles in which each of ``warps`` warps runs the body of a loop once, in the steady state."""
    steps = [_decode(instruction) for instruction in body]
    place, done = [0] * warps, [0] * warps
    ready: list[dict[str, int]] = [defaultdict(int) for _ in range(warps)]
    blocked = [37 * warp for warp in range(warps)]  # warps do not begin in step
    free: dict[str, int] = defaultdict(int)
    ends: list[list[int]] = [[] for _ in range(warps)]
    now = turn = 0
    while min(done) < rounds:
        chosen, soonest = None, 1 << 60
        for offset in range(warps):
            warp = (turn + offset) % warps
            if done[warp] >= rounds:
                continue
            at = _earliest(steps[place[warp]], ready[warp], free, blocked[warp])
            if at <= now:
                chosen = warp
                break
            soonest = min(soonest, at)
        if chosen is None:
            now = soonest
            continue
        step = steps[place[chosen]]
        free[step.unit] = now + step.taken
        for name in step.writes:
            ready[chosen][name] = now + step.delay
        blocked[chosen] = now + (step.delay if step.waits else 1)
        place[chosen] += 1
        now, turn = now + 1, chosen + 1
        if place[chosen] == len(steps):
            place[chosen] = 0
            done[chosen] += 1
            ends[chosen].append(now)
    return (max(end[-1] for end in ends) - min(end[0] for end in ends)) / (rounds - 1)


def _earliest(step: _Step, ready: dict[str, int], free: dict[str, int], blocked: int) -> int:
    """When a warp can issue a step: its operands are there and its unit is free."""
    at = max(blocked, free[step.unit])
    for name in step.reads:
        at = max(at, ready[name])
    for name in step.writes:
        at = max(at, ready[name] - 3)
    return at


def _decode(instruction: Instruction) -> _Step:
    operation = instruction.operation
    unit, taken, delay = next(
        (unit for pattern, *unit in UNITS if re.match(pattern, operation)), OTHERS
    )
    operands = [part.strip() for part in instruction.operands.split(',')]
    reads, writes = set(_NAMES.findall(instruction.predicate)), set()
    results = 0 if _NO_RESULT.match(operation) else 1
    if results and len(operands) > 1 and re.match(r'U?P', operands[1]):
        results += bool(_TWO_RESULTS.match(operation))
    for number, operand in enumerate(operands):
        names = _NAMES.findall(operand)
        if number < results:
            writes.update(n for name in names for n in _widened(name, operation))
        else:
            wide = '.64' in operand or (not results and number == len(operands) - 1)
            reads.update(
                n for name in names for n in (_widened(name, operation) if wide else [name])
            )
    waits = operation.startswith(('BAR', 'BRA'))
    return _Step(unit, taken, delay, frozenset(reads), frozenset(writes), waits)


def _widened(name: str, operation: str) -> list[str]:
    """All registers of a value of 64 or 128 bits that begins in one."""
    if not name.startswith('R'):
        return [name]
    count = 1
    if '.128' in operation:
        count = 4
    elif '.64' in operation or 'WIDE' in operation or operation.startswith('CS2R'):
        count = 2
    return [f'R{int(name[1:]) + i}' for i in range(count)]
