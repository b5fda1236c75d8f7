"""Tests that need newer versions than the package does."""

import pytest
import torch

needs_fake_gpu = pytest.mark.skipif(
    torch.__version__ < (2, 10), reason='torch before 2.10 asks the driver for a GPU that is fake'
)
