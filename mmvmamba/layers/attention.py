"""Softmax attention."""

import torch.nn.functional as F
from torch import Tensor, nn

from .evaluation import linear

__all__ = ['Attention']


class Attention(nn.Module):
    """Multi-head self-attention on ``(N, L, C)``, without position bias.

    Args:
        dim: Channels.
        num_heads: Heads; they share the channels equally.
        qkv_bias: Whether the joint projection of queries, keys and values has a bias.
        use_qk_norm: Whether queries and keys are normalised head by head.
        attn_drop_rate: Dropout of attention weights, in training.
        drop_rate: Dropout of the output, in training.
        causal: Whether a token attends to itself and those before it only.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        use_qk_norm: bool = False,
        attn_drop_rate: float = 0.0,
        drop_rate: float = 0.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'num_heads must divide the width {dim}, got {num_heads}')
        self.num_heads = num_heads
        self.causal = causal
        self.attn_drop_rate = attn_drop_rate
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(dim // num_heads) if use_qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // num_heads) if use_qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = linear(self.qkv, x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # SDPA keeps no L x L matrix, which windows of 25 600 tokens could not afford, and drops
        # weights whenever it is told a rate: it does not know of evaluation mode.
        x = F.scaled_dot_product_attention(
            self.q_norm(q),
            self.k_norm(k),
            v,
            dropout_p=self.attn_drop_rate if self.training else 0.0,
            is_causal=self.causal,
        )
        return self.proj_drop(linear(self.proj, x.transpose(1, 2).flatten(2)))
