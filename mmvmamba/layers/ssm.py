"""Initial values of state-space parameters, the same in every Mamba."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mmvmamba.ops.symbolic import at_least_float32

__all__ = ['init_dt_proj_', 'initial_A_log', 'resolve_dt_rank', 'state_matrix']


def resolve_dt_rank(dt_rank: int | Literal['auto'], embed_dims: int) -> int:
    """The rank of the step-size projection; 'auto' is a sixteenth of the width, rounded up."""
    return math.ceil(embed_dims / 16) if dt_rank == 'auto' else dt_rank


def initial_A_log(dim: int, d_state: int) -> Tensor:
    """log(1), ..., log(d_state) for each channel, so that A = -exp(A_log) = -1, ..., -d_state."""
    return torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).repeat(dim, 1)


def state_matrix(A_log: Tensor) -> Tensor:
    """A = -exp(A_log), in at least float32."""
    return -torch.exp(at_least_float32(A_log))


@torch.no_grad()
def init_dt_proj_(
    dt_proj: nn.Linear,
    dt_min: float = 1e-3,
    dt_max: float = 0.1,
    dt_init_floor: float = 1e-4,
    dt_init: str = 'random',
    dt_scale: float = 1.0,
) -> None:
    """Initialises the step-size projection so that softplus(bias) is log-uniform in [dt_min,
    dt_max].

    Args:
        dt_proj: The projection from the rank to the inner width.
        dt_min: Smallest initial step.
        dt_max: Largest initial step.
        dt_init_floor: Lower bound of the steps.
        dt_init: 'random' draws the weight uniformly, 'constant' sets it, both with bound rank **
            -0.5 * dt_scale.
        dt_scale: See ``dt_init``.
    """
    bound = dt_proj.in_features**-0.5 * dt_scale
    if dt_init == 'random':
        nn.init.uniform_(dt_proj.weight, -bound, bound)
    elif dt_init == 'constant':
        nn.init.constant_(dt_proj.weight, bound)
    else:
        raise ValueError(f"dt_init must be 'random' or 'constant', got {dt_init!r}")
    log_step = torch.empty_like(dt_proj.bias).uniform_(math.log(dt_min), math.log(dt_max))
    step = log_step.exp().clamp_min(dt_init_floor)
    # The inverse of softplus, stable for small steps.
    dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))
