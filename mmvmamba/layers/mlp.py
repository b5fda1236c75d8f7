"""The feed-forward part of a Transformer block."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .evaluation import linear
from .packed import PackedLinear

__all__ = ['MLP']


class MLP(nn.Module):
    """Two linear layers with the exact GELU between, on the last axis."""

    def __init__(self, dim: int, hidden: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(linear(self.fc2, self.drop(F.gelu(linear(self.fc1, x)))))

    def packed_form(self, dtype: torch.dtype) -> nn.Module:
        """The same for inference on a CPU, the activation in the pass of the first layer."""
        return nn.Sequential(
            PackedLinear(self.fc1, dtype, activation='gelu'), PackedLinear(self.fc2, dtype)
        )
