"""One small scan, forward and backward, for tools under which it takes a thousand times as long.

compute-sanitizer --tool racecheck python benchmarks/gpu_tiny_scan.py
"""

import torch

from mmvmamba.ops.selective_scan import selective_scan

__all__ = ['main']


def main() -> None:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    u, delta = torch.randn(2, 1, 80, 32, device=device)
    B, C = torch.randn(2, 1, 80, 16, device=device)
    A = -torch.rand(32, 16, device=device)
    leaves = [x.requires_grad_() for x in (u, delta, A, B, C)]
    out = selective_scan(*leaves, delta_softplus=True, channels_last=True)
    gradients = torch.autograd.grad(out.square().sum(), leaves)
    assert all(bool(torch.isfinite(x).all()) for x in gradients)
    print(f'a scan ran on {device}')


if __name__ == '__main__':
    main()
