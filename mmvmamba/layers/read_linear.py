"""A linear layer whose parameters others read."""

from torch import nn

__all__ = ['ReadLinear']


class ReadLinear(nn.Linear):
    """A linear layer whose weight or bias is read from outside of it as well.

    What replaces ``nn.Linear`` by its type, as torch's dynamic quantisation does, leaves it alone.
    """
