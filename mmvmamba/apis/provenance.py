"""Whether a model has the weights that its authors published, or has left them."""

from typing import Any

import torch
from torch import nn

__all__ = ['has_official_weights', 'mark_official']

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def mark_official(model: Any, is_official: bool) -> None:
    """Notes whether the weights that a model has now are those that its authors published.

    Args:
        model: The model, just loaded.
        is_official: Whether the file was fetched as theirs. A head that began anew is not theirs.
    """
    is_official = is_official and not getattr(model, 'has_new_head', False)
    model._official_bits = _bits(model) if is_official else None


def has_official_weights(model: Any) -> bool:
    """Whether the weights were noted as the authors', and nothing has changed them since."""
    noted = getattr(model, '_official_bits', None)
    return noted is not None and noted == _bits(model)


def _bits(model: nn.Module) -> tuple[int, ...]:
    # As integers: a sum of floats depends on the device and on the number of threads.
    tensors = (tensor.detach().contiguous() for tensor in model.state_dict().values())
    return tuple(int(t.view(_INTEGERS[t.element_size()]).sum(dtype=torch.int64)) for t in tensors)
