"""Vim's mixer: a Mamba that reads the sequence in both directions.

In this file N is the batch, L the length of the sequence, C its width, E = expand * C the width
inside the mixer, R the rank of the step sizes, S the size of the state and P the number of sets of
parameters: one for each direction (v2), or one for both.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvmamba.layers.aligned_projection import aligned_weight, split_aligned
from mmvmamba.layers.evaluation import (
    autocast_dtype,
    fuses,
    is_plain,
    kept_of_weights,
    linear_halves,
)
from mmvmamba.layers.layer_scale import layer_scale_parameter
from mmvmamba.layers.read_linear import ReadLinear
from mmvmamba.layers.ssm import init_dt_proj_, initial_A_log, resolve_dt_rank, state_matrix
from mmvmamba.ops.fused import convolve_silu
from mmvmamba.ops.selective_scan import selective_scan
from mmvmamba.ops.symbolic import at_least_float32, is_symbolic

__all__ = ['BidirectionalMamba', 'causal_conv1d']

SCANS = ('v2', 'v1', 'none')


def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor, reverse: bool = False) -> Tensor:
    """Convolves each channel over the tokens up to its own or, in reverse, from its own on.

    In reverse this is the causal convolution of the reversed sequence, each result at its token's
    own place.

    Args:
        x: Sequence, ``(N, L, E)``.
        weight: ``(E, 1, taps)``; the last tap meets the token itself.
        bias: ``(E,)``.
        reverse: Whether to convolve from the end of the sequence.
    """
    channels, _, taps = weight.shape
    if reverse:
        weight = weight.flip(-1)
    # As an image of height 1 the sequence is in channels-last memory already: nothing is copied.
    image = x.transpose(1, 2).unsqueeze(2)  # (N, E, 1, L)
    y = F.conv2d(image, weight.unsqueeze(2), bias, padding=(0, taps - 1), groups=channels)
    y = y[..., taps - 1 :] if reverse else y[..., : x.shape[1]]
    return y.squeeze(2).transpose(1, 2)


class BidirectionalMamba(nn.Module):
    """Mixes the tokens of a sequence by selective scans from both ends, gated together.

    The scans run in one call in the tokens' own places; no activation is ever flipped.

    Args:
        embed_dims: Width C.
        scan: 'v2' has a convolution, projections and a state matrix of its own for each direction;
            'v1' shares all but the state matrix; 'none' reads forward only.
        d_state: Size S of the state.
        d_conv: Taps of the convolutions.
        expand: Ratio of the inner width E to C.
        dt_rank: Rank R of the step sizes, or 'auto'.
        use_divide_out: Whether the two directions of v2 are averaged, not added. The first releases
            added; v1 always adds.
        use_backward_dt_init: Whether the step sizes of v2's backward direction start like those of
            the forward one. In the official code they do not: they start at softplus(0) = 0.69.
        layer_scale: Initial value of a learnt scale of the output; None for no scale.
    """

    def __init__(
        self,
        embed_dims: int,
        scan: str = 'v2',
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        dt_rank: int | Literal['auto'] = 'auto',
        use_divide_out: bool = True,
        use_backward_dt_init: bool = False,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if scan not in SCANS:
            raise ValueError(f'scan must be one of {list(SCANS)}, got {scan!r}')
        inner_dims = int(expand * embed_dims)
        self.scan = scan
        self.d_state = d_state
        self.dt_rank = resolve_dt_rank(dt_rank, embed_dims)
        self.use_divide_out = use_divide_out and scan == 'v2'

        def x_proj() -> nn.Linear:
            return ReadLinear(inner_dims, self.dt_rank + 2 * d_state, bias=False)

        def conv1d() -> nn.Conv1d:
            return nn.Conv1d(inner_dims, inner_dims, d_conv, groups=inner_dims)

        self.halved_layers = ('in_proj',)
        self.in_proj = nn.Linear(embed_dims, 2 * inner_dims, bias=False)
        self.conv1d = conv1d()
        self.x_proj = x_proj()
        self.dt_proj = ReadLinear(self.dt_rank, inner_dims)
        self.A_log = nn.Parameter(initial_A_log(inner_dims, d_state))
        self.D = nn.Parameter(torch.ones(inner_dims))
        if scan != 'none':
            self.A_b_log = nn.Parameter(initial_A_log(inner_dims, d_state))
        if scan == 'v2':
            self.conv1d_b = conv1d()
            self.x_proj_b = x_proj()
            self.dt_proj_b = ReadLinear(self.dt_rank, inner_dims)
            self.D_b = nn.Parameter(torch.ones(inner_dims))
        self.out_proj = nn.Linear(inner_dims, embed_dims, bias=False)
        self.gamma = layer_scale_parameter(layer_scale, embed_dims)

        init_dt_proj_(self.dt_proj)
        if scan == 'v2' and use_backward_dt_init:
            init_dt_proj_(self.dt_proj_b)
        elif scan == 'v2':
            nn.init.zeros_(self.dt_proj_b.bias)

    def forward(self, x: Tensor, orders: Tensor) -> Tensor:
        """Mixes a sequence.

        Args:
            x: ``(N, L, C)``.
            orders: ``reversed_order(L)`` on the device of ``x``, ``(2, L)``.
        """
        sets = [(self.conv1d, self.x_proj, self.dt_proj, self.D)]
        if self.scan == 'v2':
            sets.append((self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.D_b))
        convs, x_projs, dt_projs, D = zip(*sets, strict=True)
        A_log: list[Tensor] = [self.A_log] if self.scan == 'none' else [self.A_log, self.A_b_log]
        orders = orders[: len(A_log)]

        x, z = linear_halves(self.in_proj, x)
        u = self._convolve(x, convs)
        sizes = [self.dt_rank, self.d_state, self.d_state]
        dt, B, C = split_projection(self, u, x_projs, sizes)
        biases = [proj.bias for proj in dt_projs]
        y = selective_scan(
            u.transpose(0, 1),
            project(self, dt, dt_projs).transpose(0, 1),
            kept_of_weights(self, 'A', stacked_state_matrix, *A_log),
            B.transpose(0, 1),
            C.transpose(0, 1),
            kept_of_weights(self, 'D', stacked, *D).expand(len(A_log), -1),
            z=z,
            delta_bias=kept_of_weights(self, 'bias', stacked, *biases).expand(len(A_log), -1),
            delta_softplus=True,
            channels_last=True,
            orders=orders,
        )
        return self._project_out(y)

    def _convolve(self, x: Tensor, convs: Sequence[nn.Conv1d]) -> Tensor:
        """Each convolution of ``(N, L, E)`` and SiLU, ``(P, N, L, E)``; the second is reversed."""
        if not fuses(x) or not all(is_plain(conv, nn.Conv1d) for conv in convs):
            convolved = [
                causal_conv1d(x, conv.weight, conv.bias, i == 1)  # type: ignore[arg-type]
                for i, conv in enumerate(convs)
            ]
            return F.silu(torch.stack(convolved))
        taps = kept_of_weights(self, 'taps', taps_in_order, *(conv.weight for conv in convs))
        bias = kept_of_weights(self, 'conv bias', stacked, *(conv.bias for conv in convs))
        return convolve_silu(x, taps, bias, (taps.shape[1] - 1, 0)[: len(convs)])

    def _project_out(self, y: Tensor) -> Tensor:
        if fuses(y) and is_plain(self.out_proj, nn.Linear):
            dtype = autocast_dtype(y) or y.dtype

            def make(weight: Tensor, gamma: Tensor | None = None) -> Tensor:
                weight = weight / 2 if self.use_divide_out else weight
                return (weight if gamma is None else weight * gamma[:, None]).to(dtype)

            weights = (self.out_proj.weight, self.gamma)
            return F.linear(y, kept_of_weights(self, 'out', make, *weights, also=dtype))
        y = self.out_proj(y)
        if self.use_divide_out:
            # After the projection, which is linear: there are fewer channels to halve.
            y = y / 2
        return y if self.gamma is None else y * self.gamma


def project(mixer: nn.Module, x: Tensor, projections: Sequence[nn.Linear]) -> Tensor:
    """Each of P sequences ``(P, N, L, in)`` through its own projection, without the bias."""
    dtype = autocast_dtype(x)

    def make(*weights: Tensor) -> Tensor:
        return torch.stack(weights).to(dtype or weights[0].dtype)

    weights = (projection.weight for projection in projections)
    stack = kept_of_weights(mixer, 'step projection', make, *weights, also=dtype)
    return project_each(x, stack)


def split_projection(
    mixer: nn.Module, x: Tensor, projections: Sequence[nn.Linear], sizes: Sequence[int]
) -> Sequence[Tensor]:
    """As ``project``, split into parts, which on a GPU lie as ``project_parts`` has them."""
    dtype, is_gpu = autocast_dtype(x), not is_symbolic(x) and x.device.type == 'cuda'

    def make(*weights: Tensor) -> Tensor:
        stack = torch.stack(weights)
        return (aligned_weight(stack, sizes) if is_gpu else stack).to(dtype or stack.dtype)

    weights = (projection.weight for projection in projections)
    stack = kept_of_weights(mixer, 'projection', make, *weights, also=dtype)
    y = project_each(x, stack)
    return split_aligned(y, sizes) if is_gpu else y.split(list(sizes), dim=-1)


def project_each(x: Tensor, stack: Tensor) -> Tensor:
    """P sequences ``(P, N, L, in)`` by the P matrices of a stack, ``(P, out, in)``."""
    return torch.bmm(x.flatten(1, 2), stack.transpose(1, 2)).unflatten(1, x.shape[1:3])


def taps_in_order(*weights: Tensor) -> Tensor:
    """The taps of a causal and of a reversed convolution as they meet tokens, ``(P, taps, E)``."""
    rows = (w[:, 0].flip(-1) if i else w[:, 0] for i, w in enumerate(weights))
    return torch.stack([row.t() for row in rows])


def stacked(*weights: Tensor) -> Tensor:
    return at_least_float32(torch.stack(weights))


def stacked_state_matrix(*A_logs: Tensor) -> Tensor:
    return state_matrix(torch.stack(A_logs))
