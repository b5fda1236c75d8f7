"""What the Triton backends of all operators need to know about the device."""

import os
from importlib.util import find_spec

import torch

__all__ = ['OPTIONS', 'interpreted', 'on_device', 'power_of_two', 'triton_unavailable_reason']

# Every kernel multiplies and adds in one instruction, also where Triton (3.10) does not by default.
OPTIONS = {'enable_fp_fusion': True}

# Where Triton was found to run, which takes longer to find out than a small scan.
_found: set[torch.device] = set()


def triton_unavailable_reason(device: torch.device) -> str | None:
    """Why Triton cannot run on a device, or None: CUDA, ROCm, and the CPU if it is interpreted."""
    if device in _found:
        return None
    reason = _reason(device)
    if reason is None and device.type == 'cuda':
        _found.add(device)
    return reason


def _reason(device: torch.device) -> str | None:
    on_cpu = device.type == 'cpu' and interpreted()
    # Before the search for the package, which takes as long as a small scan.
    if device.type != 'cuda' and not on_cpu:
        return f'it runs on CUDA and ROCm devices, got tensors on {device.type}'
    if find_spec('triton') is None:
        return 'triton is not installed; install it with: pip install triton'
    if on_cpu:
        return None
    if not torch.cuda.is_available():
        return 'torch finds no CUDA or ROCm device'
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (7, 0):
        return 'it needs a GPU of compute capability 7.0 or newer'
    return None


def on_device(device: torch.device) -> torch.cuda.device:
    """Makes the device current, as Triton launches on the current one; does nothing for the CPU."""
    return torch.cuda.device(device if device.type == 'cuda' else -1)


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, which tests use."""
    return os.environ.get('TRITON_INTERPRET', '0') == '1'


def power_of_two(n: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (n - 1).bit_length()
