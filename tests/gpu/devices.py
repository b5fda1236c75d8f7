"""Where the tests of this folder run: on the GPU, and on the CPU to prove the tests themselves."""

import pytest
import torch

__all__ = ['on_each_device', 'on_gpu']

GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA or ROCm device'),
)


def on_each_device(available_backends):
    """Runs a test with each backend of the GPU, and with plain PyTorch on the CPU."""
    backends = available_backends('cuda') if torch.cuda.is_available() else ['triton']
    pairs = [('cpu', 'torch'), *(on_gpu('cuda', backend) for backend in backends)]
    return pytest.mark.parametrize('device,backend', pairs)


def on_gpu(*values):
    return pytest.param(*values, marks=GPU)
