"""The ``hub`` backend: mamba_ssm's CUDA kernel as the Hugging Face hub has it, compiled already.

``kernels-community/mamba-ssm`` is loaded by the ``kernels`` package from the hub's folder on this
machine. Nothing is ever downloaded from here: what lies on the hub is code, and a user who wants it
fetches it. It is used only after a short self-test against the reference in this process.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from .arguments import ScanArgs
from .mamba_ssm import backward_by, fault_of, forward_by, refusal

__all__ = ['backward', 'forward', 'unavailable_reason']

REPOSITORY = 'kernels-community/mamba-ssm'
INSTALL_COMMAND = f'pip install kernels && hf download {REPOSITORY}'


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    reason = refusal(device, dtype, state) or _load()[1]
    return reason or _self_test(str(device))


def forward(
    args: ScanArgs, chunk_length: int, with_last_state: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return forward_by(_scan_function(), args, chunk_length, with_last_state)


def backward(
    args: ScanArgs,
    chunk_length: int,
    checkpoints: Tensor,
    grad_out: Tensor,
    grad_last_state: Tensor | None,
) -> tuple[Tensor | None, ...]:
    return backward_by(_scan_function(), args, grad_out, grad_last_state)


@lru_cache(maxsize=8)
def _self_test(device: str) -> str | None:
    return fault_of(_scan_function(), device, INSTALL_COMMAND)


def _scan_function() -> Callable:
    """The kernel's function, after ``unavailable_reason`` has found it."""
    scan, reason = _load()
    assert scan is not None, reason
    return scan


@lru_cache(maxsize=1)
def _load() -> tuple[Callable | None, str | None]:
    """The kernel's function, or the reason why there is none."""
    try:
        from huggingface_hub import constants, snapshot_download
        from kernels import get_local_kernel
    except ImportError as error:
        return None, f'{error}; install it with: {INSTALL_COMMAND}'
    was_offline = constants.HF_HUB_OFFLINE
    # The package would fetch what a kernel depends on.
    constants.HF_HUB_OFFLINE = True
    try:
        folder = snapshot_download(REPOSITORY, local_files_only=True)
        module = get_local_kernel(Path(folder))
    # Builds for other versions of torch, files that are missing, libraries that do not load.
    except (OSError, ImportError, ValueError, RuntimeError, AttributeError) as error:
        first = str(error).strip().split('\n')[0]
        return None, f'{REPOSITORY}: {first}; install it with: {INSTALL_COMMAND}'
    finally:
        constants.HF_HUB_OFFLINE = was_offline
    scan = getattr(module, 'selective_scan_fn', None)
    if scan is None:
        return None, f'{REPOSITORY} has no selective_scan_fn; install it with: {INSTALL_COMMAND}'
    return scan, None
