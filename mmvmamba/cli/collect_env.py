"""Prints versions, devices and what is in use: ``python -m mmvmamba.collect_env``.

What a bug report should contain.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from functools import cache

import torch

from mmvmamba import __version__
from mmvmamba.compat import INSTALL_COMMAND, mmcv_ops, mmcv_ops_status, require
from mmvmamba.cpus import usable_cpus
from mmvmamba.ops.backends import Backends
from mmvmamba.ops.cpu.instruction_set import VARIABLE, instruction_set, vector_lanes
from mmvmamba.ops.ms_deform_attn.dispatch import DEFORM_ATTN
from mmvmamba.ops.selective_scan.dispatch import SCAN

__all__ = ['collect_env', 'format_env']

Section = list[tuple[str, str]]

# Operators with backends, and a usual size: of the state, and of a head.
OPERATORS = ((SCAN, 16), (DEFORM_ATTN, 32))
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
LIBRARIES = (
    'torchvision', 'numpy', 'numba', 'triton', 'mamba_ssm', 'causal_conv1d', 'kernels', 'cv2',
    'PIL', 'lmdb', 'pycocotools', 'faster_coco_eval', 'safetensors', 'huggingface_hub',
    'transformers', 'onnx', 'onnxruntime',
)  # fmt: skip


def collect_env() -> dict[str, Section]:
    """Look at this machine.

    Returns:
        Titles with their rows, each a name and a text.
    """
    return {
        'System': _system(),
        'Devices': _devices(),
        'OpenMMLab': [(name, _openmmlab(name)) for name in OPENMMLAB],
        'Libraries': [(name, _version(name)) for name in LIBRARIES],
        **{_backends_title(backends): _backends(backends, size) for backends, size in OPERATORS},
        'Operators of mmcv': _mmcv_ops(),
    }


def format_env(sections: dict[str, Section]) -> str:
    """Lay the sections out as text, names in one column."""
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    lines = []
    for title, rows in sections.items():
        lines += [title, *(f'  {name:{width}}  {text}' for name, text in rows), '']
    return '\n'.join(lines).rstrip()


def _system() -> Section:
    return [
        ('mmvmamba', __version__),
        ('python', f'{platform.python_version()} ({sys.executable})'),
        ('platform', platform.platform()),
        ('torch', f'{torch.__version__} ({_torch_build()})'),
    ]


def _torch_build() -> str:
    if torch.version.hip:
        return f'ROCm {torch.version.hip}'
    if torch.version.cuda:
        return f'CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}'
    return 'CPU only'


def _vectors() -> str:
    if importlib.util.find_spec('numba') is None:
        return 'unknown without numba'
    try:
        lanes = vector_lanes()
    except ValueError as error:
        return str(error)
    return f'{instruction_set()}, {lanes} channels in a loop over states (set with {VARIABLE})'


def _devices() -> Section:
    threads = torch.get_num_threads()
    rows = [
        ('cpu', f'{usable_cpus()} of {os.cpu_count()} cores, torch uses {threads} threads'),
        ('vectors', _vectors()),
    ]
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = gpu.total_memory / 2**30
        rows.append(
            (f'cuda:{index}', f'{gpu.name}, {memory:.0f} GiB, compute {gpu.major}.{gpu.minor}')
        )
    if not torch.cuda.is_available():
        rows.append(('cuda', 'no device that torch can use'))
    return rows


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _openmmlab(name: str) -> str:
    """The version, or why the package cannot be used."""
    try:
        require(name)
    except ImportError as error:
        return str(error)
    return _version(name)


def _version(name: str) -> str:
    """Version and distribution of an importable package, without importing it."""
    if importlib.util.find_spec(name) is None:
        return 'not installed'
    distributions = sorted(set(_distributions().get(name, [])))
    if not distributions:
        return 'importable, but no installed distribution holds it'
    return ', '.join(
        importlib.metadata.version(item) + ('' if item == name else f' ({item})')
        for item in distributions
    )


def _backends_title(backends: Backends) -> str:
    return f'{backends.operator.capitalize()} (force one with {backends.variable})'


def _backends(backends: Backends, size: int) -> Section:
    rows = []
    for device in ['cpu'] + (['cuda'] if torch.cuda.is_available() else []):
        kind = (torch.device(device), torch.float32, size)
        reasons = {name: backends.unavailable_reason(name, *kind) for name in backends.modules}
        in_use = next(name for name, reason in reasons.items() if reason is None)
        for name, reason in reasons.items():
            text = f'not on {device}: {reason}'
            if reason is None:
                text = f'{"in use" if name == in_use else "usable"} on {device}'
            rows.append((name, text))
    return rows


def _mmcv_ops() -> Section:
    try:
        kind, reason = mmcv_ops_status()
    except ImportError as error:
        return [('none', f'mmcv does not import: {error}')]
    if kind == 'none':
        return [('none', f'{reason}; {INSTALL_COMMAND}')]
    if kind == 'compiled':
        return [('all', f'compiled ({reason})')]
    ops = {op: _op_family(op) for op in mmcv_ops.__all__ if not op.startswith('get_')}
    return [
        *(
            (family, 'stand-in over torch and torchvision')
            for family in dict.fromkeys(ops.values())
        ),
        ('all others', f'raise when called: {reason}'),
    ]


def _op_family(op: str) -> str:
    return re.sub(r'_(forward|backward)(_.*)?$', '', op)


def main() -> None:
    """Prints the report."""
    print(format_env(collect_env()))


if __name__ == '__main__':
    main()
