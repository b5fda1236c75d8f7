"""What NVIDIA machine code is made of: instructions, loops, how often each kind occurs.

Reads the text that ``nvdisasm`` makes of a compiled kernel.
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = [
    'Instruction',
    'Loop',
    'count_kinds',
    'disassemble',
    'find_loops',
    'resources',
    'resources_of_amd',
]

# The first pattern that an operation begins with names its kind.
KINDS = {
    'exp2': r'MUFU\.EX2',
    'special': r'MUFU|I2F|F2I',
    'multiply-add': r'FFMA',
    'multiply': r'FMUL',
    'add': r'FADD',
    'select': r'FSEL|FMNMX|FSETP|FSET|FCHK|SEL|LOP|PRMT|SHF(?!L)|VIMNMX|BMSK|SGXT|ISETP|PLOP'
    '|P2R|R2P',
    'load': r'LDG|LD\.',
    'store': r'STG|ST\.',
    'atomic': r'ATOM|RED',
    'shared': r'LDS|STS',
    'spill': r'LDL|STL',
    'shuffle': r'SHFL',
    'convert': r'F2F|HADD2|HFMA2|F2FP|HMUL2',
    'move': r'IMAD\.MOV|IMAD\.U32|MOV|CS2R|S2R|LDC|ULDC|R2UR|S2UR',
    'integer': r'IMAD|IADD|LEA|VIADD|ISCADD',
    'uniform': r'U[A-Z]',
    'control': r'BRA|EXIT|CALL|RET|BAR|WARPSYNC|BSYNC|BSSY|DEPBAR|ERRBAR|MEMBAR|NOP|CCTL',
}
_INSTRUCTION = re.compile(
    r'/\*[0-9a-f]{4,}\*/\s+(?P<predicate>@!?U?P\w+\s+)?(?P<operation>[A-Z0-9_.]+)\s*(?P<operands>.*?);'
)
_LABEL = re.compile(r'\s*(\.L_\w+):')
_TARGET = re.compile(r'`\((\.L_\w+)\)')
_WIDTH = re.compile(r'\.[US]?(8|16|64|128)(?:\.|$)')


class Instruction(NamedTuple):
    operation: str
    operands: str
    predicate: str

    @property
    def kind(self) -> str:
        return next((k for k, p in KINDS.items() if re.match(p, self.operation)), 'other')

    @property
    def bits(self) -> int:
        """The bits that a thread loads or stores."""
        width = _WIDTH.search(self.operation)
        return int(width.group(1)) if width else 32


class Loop(NamedTuple):
    """A loop's own instructions, without those of the loops inside it."""

    depth: int
    body: tuple[Instruction, ...]
    is_innermost: bool

    @property
    def kinds(self) -> Counter[str]:
        return count_kinds(self.body)

    def widths(self, kind: str) -> Counter[int]:
        """How many loads (or stores, ...) there are of each number of bits."""
        return Counter(i.bits for i in self.body if i.kind == kind)


def count_kinds(body: Sequence[Instruction]) -> Counter[str]:
    return Counter(instruction.kind for instruction in body)


def disassemble(cubin: bytes) -> str:
    """The text of a compiled kernel, by the disassembler that comes with Triton."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.nvdisasm.path, '-c', file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def resources(ptx: str, architecture: str) -> tuple[int, int]:
    """Registers of a thread, and bytes that it spills (stores and loads), as the assembler says."""
    from triton.backends.nvidia.compiler import get_ptxas

    # Triton brings several, and writes for the one that it calls itself.
    assembler = get_ptxas(int(re.sub(r'\D', '', architecture))).path
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'kernel.ptx')
        source.write_text(ptx)
        command = [assembler, '-v', f'-arch={architecture}', source, '-o', '/dev/null']
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = re.findall(r'(\d+) bytes spill (?:stores|loads)', log)
    used = re.search(r'Used (\d+) registers', log)
    assert used is not None, log
    return int(used.group(1)), sum(map(int, spills))


def resources_of_amd(assembly: str) -> tuple[int, int]:
    """Vector registers of a lane, and those that it spills in bytes, as the compiler notes them."""
    used = re.search(r'\.vgpr_count:\s*(\d+)', assembly)
    spilled = re.search(r'\.vgpr_spill_count:\s*(\d+)', assembly)
    assert used is not None and spilled is not None, assembly[-2000:]
    return int(used.group(1)), 4 * int(spilled.group(1))


def find_loops(text: str, shortest: int = 6) -> list[Loop]:
    """The loops of a kernel, in the order in which they begin."""
    instructions, labels = _parse(text)
    ends: dict[int, int] = {}
    for place, instruction in enumerate(instructions):
        target = _TARGET.search(instruction.operands)
        if not instruction.operation.startswith(('BRA', 'UBRA')) or target is None:
            continue
        begin = labels.get(target.group(1))
        if begin is not None and begin <= place:
            ends[begin] = max(place, ends.get(begin, 0))
    # A kernel ends in a jump to itself, which is no loop.
    spans = [(begin, end) for begin, end in sorted(ends.items()) if end - begin >= shortest]
    loops = []
    for begin, end in spans:
        inside = [s for s in spans if s != (begin, end) and s[0] >= begin and s[1] <= end]
        own = [
            instruction
            for place, instruction in enumerate(instructions[begin : end + 1], begin)
            if not any(first <= place <= last for first, last in inside)
        ]
        depth = sum(1 for first, last in spans if first <= begin and end <= last) - 1
        loops.append(Loop(depth, tuple(own), not inside))
    return loops


def _parse(text: str) -> tuple[list[Instruction], dict[str, int]]:
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label:
            labels[label.group(1)] = len(instructions)
            continue
        found = _INSTRUCTION.search(line)
        if found:
            predicate = (found['predicate'] or '').strip()
            instructions.append(Instruction(found['operation'], found['operands'], predicate))
    return instructions, labels
