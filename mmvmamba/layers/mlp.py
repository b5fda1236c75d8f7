"""The feed-forward part of a Transformer block."""

import torch.nn.functional as F
from torch import Tensor, nn

from .evaluation import linear

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
