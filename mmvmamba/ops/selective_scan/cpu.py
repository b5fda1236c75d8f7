"""The ``numba`` backend."""

import torch


def unavailable_reason(device: torch.device, dtype: torch.dtype, state: int) -> str | None:
    return 'not there yet'
