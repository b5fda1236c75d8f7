"""The vector instructions of this CPU, and how many float32 a loop over states handles at once."""

import os
import platform
from functools import lru_cache
from typing import Any

__all__ = ['VARIABLE', 'VECTOR_LANES', 'instruction_set', 'vector_lanes']

VARIABLE = 'MMVMAMBA_SCAN_LANES'
# Four registers each. Measured for AVX-512 and AVX2 (docs/benchmarks/selective_scan.md), inferred
# for the rest.
VECTOR_LANES = {'avx512': 64, 'avx2': 32, 'sse': 16, 'neon': 16, 'other': 16}


@lru_cache(maxsize=1)
def instruction_set() -> str:
    """Which of ``VECTOR_LANES`` the code will be compiled for, by what LLVM finds on this CPU.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``, with which numba compiles for another CPU, count.
    """
    from llvmlite import binding
    from numba.core import config as numba_config

    # Attributes that numba reads from the environment, which its annotations lack.
    config: Any = numba_config

    # numba sets these as it reads the environment, where mypy does not see them.
    name, text = config.CPU_NAME, config.CPU_FEATURES  # type: ignore[attr-defined]
    if text is not None or name == 'generic':
        text = text or ''
        features = {feature[1:] for feature in text.split(',') if feature.startswith('+')}
    else:
        features = {name for name, present in binding.get_host_cpu_features().items() if present}
    if 'avx512f' in features:
        return 'avx512'
    if {'avx2', 'fma'} <= features:
        return 'avx2'
    if platform.machine().lower() in ('x86_64', 'amd64', 'i386', 'i686'):
        return 'sse'
    if platform.machine().lower() in ('arm64', 'aarch64'):
        return 'neon'
    return 'other'


def vector_lanes() -> int:
    """How many lanes: what ``MMVMAMBA_SCAN_LANES`` says, else what fits the instruction set.

    Raises:
        ValueError: if the variable holds none of 4, 8, 16, 32 and 64.
    """
    value = os.environ.get(VARIABLE, '')
    if not value:
        return VECTOR_LANES[instruction_set()]
    allowed = ('4', '8', '16', '32', '64')
    if value not in allowed:
        raise ValueError(f'{VARIABLE} must be one of {", ".join(allowed)}, got {value!r}')
    return int(value)
