"""Random states that are a function of where training stands, not of what was drawn before."""

import random

import numpy as np
import torch

__all__ = ['BEFORE_EPOCH', 'SAMPLE', 'STEP', 'seed_from', 'seed_generators']

# What a seed is for; the number is mixed into it, so that equal positions draw differently.
BEFORE_EPOCH, STEP, SAMPLE = range(3)


def seed_from(*parts: int) -> int:
    """Mixes numbers into one 32-bit seed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_generators(value: int, devices: bool = True) -> None:
    """Seeds what models and transforms draw from.

    Args:
        value: The seed.
        devices: Whether the generators of GPUs are seeded too, which transforms do not need.
    """
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002  the transforms of the toolboxes draw from the global state
    if devices:
        torch.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)
