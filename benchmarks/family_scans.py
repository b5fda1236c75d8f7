"""The scans that each family asks for, with the strides, slices and dtypes of its own code.

The mixers run under autocast, as in training and in benchmarks, on a device or on a GPU that is not
there (``mmvmamba/fake_gpu.py``), and the arguments of the operator are kept.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from mmvmamba.fake_gpu import OperatorLog, fake_autocast, fake_gpu, move_to_fake_gpu
from mmvmamba.models.backbones.mambavision import MambaVisionMixer
from mmvmamba.models.backbones.plain_mamba import PlainMambaMixer
from mmvmamba.models.backbones.vim_mixer import BidirectionalMamba
from mmvmamba.models.backbones.vmamba import CrossScanMixer
from mmvmamba.ops.fused import triton as fused
from mmvmamba.ops.scan_order import reversed_order
from mmvmamba.ops.selective_scan import selective_scan, triton, triton_kernels
from mmvmamba.ops.selective_scan.arguments import ScanArgs
from mmvmamba.ops.selective_scan.dispatch import chunk_length_for
from mmvmamba.ops.selective_scan.triton_plan import Config
from mmvmamba.ops.triton_compile import Launch, recorded_launches

__all__ = ['CASES', 'TOY_CASES', 'Scan', 'as_on_hopper', 'launches_of', 'scan_of', 'scan_on']


class Scan(NamedTuple):
    """A scan to look at.

    Attributes:
        run: Runs the operator on a device, through the module if there is one.
        module: Makes it; None for the operator alone.
    """

    run: Callable[..., object]
    module: Callable[[], nn.Module] | None = None


def _plain(batch: int, dim: int, length: int, state: int) -> Scan:
    """The operator on memory that suits it best."""

    def run(device: str) -> None:
        def new(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
            return torch.randn(*shape, dtype=dtype, device=device).requires_grad_()

        selective_scan(
            new(batch, length, dim),
            new(batch, length, dim),
            -new(dim, state, dtype=torch.float32).detach().exp().requires_grad_(),
            new(batch, length, state),
            new(batch, length, state),
            new(dim, dtype=torch.float32),
            delta_bias=new(dim, dtype=torch.float32),
            delta_softplus=True,
            channels_last=True,
        )

    return Scan(run)


def _tokens(device: str, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.bfloat16, device=device)


def _vim(batch: int, length: int, dim: int) -> Scan:
    def run(device: str, mixer: nn.Module) -> None:
        mixer(_tokens(device, batch, length, dim), reversed_order(length, torch.device(device)))

    return Scan(run, lambda: BidirectionalMamba(dim))


def _plain_mamba(batch: int, grid: tuple[int, int], dim: int) -> Scan:
    def run(device: str, mixer: nn.Module) -> None:
        mixer(_tokens(device, batch, grid[0] * grid[1], dim), grid)

    return Scan(run, lambda: PlainMambaMixer(dim))


def _mambavision(windows: int, length: int, dim: int) -> Scan:
    def run(device: str, mixer: nn.Module) -> None:
        mixer(_tokens(device, windows, length, dim))

    return Scan(run, lambda: MambaVisionMixer(dim))


def _vmamba(batch: int, grid: tuple[int, int], dim: int) -> Scan:
    def run(device: str, mixer: nn.Module) -> None:
        mixer(_tokens(device, batch, *grid, dim))

    return Scan(run, lambda: CrossScanMixer(dim, ssm_ratio=1.0, d_state=1))


# (batch, channels, length, state) where the operator is meant; images or windows, tokens, width
# where a mixer is.
CASES = {
    'S1 (128, 384, 196, 16)': _plain(128, 384, 196, 16),
    'S2 (64, 768, 196, 16)': _plain(64, 768, 196, 16),
    'S3 (1, 384, 4200, 16)': _plain(1, 384, 4200, 16),
    'S4 (128, 160, 196, 8)': _plain(128, 160, 196, 8),
    'S5 (16, 384, 1024, 16)': _plain(16, 384, 1024, 16),
    'MambaVision-T stage 3': _mambavision(128, 196, 320),
    'MambaVision-T stage 4': _mambavision(128, 49, 640),
    'MambaVision-T stage 4, 512 windows': _mambavision(512, 49, 640),
    'Vim-Ti 224, batch 64': _vim(64, 197, 192),
    'PlainMamba-L1 224, batch 64': _plain_mamba(64, (14, 14), 192),
    'PlainMamba-L1 800x1333': _plain_mamba(1, (50, 84), 192),
    'VMamba-T stage 1, batch 64': _vmamba(64, (56, 56), 96),
    'VMamba-T stage 2, batch 64': _vmamba(64, (28, 28), 192),
    'VMamba-T stage 3, batch 64': _vmamba(64, (14, 14), 384),
    'VMamba-T stage 4, batch 64': _vmamba(64, (7, 7), 768),
}
# To see that a script runs.
TOY_CASES = {'toy': _plain(1, 8, 20, 4)}


def scan_of(name: str) -> tuple[ScanArgs, int]:
    """The operator's arguments, fake, and the chunk length of a training; inside ``fake_gpu``."""
    return _kept_scan(CASES[name], 'cuda', move_to_fake_gpu, fake_autocast())


def scan_on(device: str, scan: Scan) -> tuple[ScanArgs, int]:
    """As ``scan_of``, with the numbers that random tokens and initial weights make on a device."""
    return _kept_scan(scan, device, lambda x: x.to(device), torch.autocast(device, torch.bfloat16))


def _kept_scan(
    scan: Scan,
    device: str,
    place: Callable[[nn.Module], nn.Module],
    autocast: AbstractContextManager[object],
) -> tuple[ScanArgs, int]:
    # Initial weights are drawn anew until all are in range, which fake ones cannot tell.
    with unset_fake_temporarily():
        modules = [] if scan.module is None else [scan.module()]
    modules = [place(module) for module in modules]
    with autocast, OperatorLog(keep='selective_scan') as log:
        scan.run(device, *modules)
    *tensors, softplus, order_all, _, _, _ = log.kept[0]
    args = ScanArgs(*tensors, softplus, order_all)
    return args, chunk_length_for(torch.device(device), args.state)


@contextmanager
def as_on_hopper(chosen: list[tuple[str, Config]]) -> Iterator[None]:
    """The host code takes the GPU for an H100 and launches with every configuration."""

    def each(kernel, args, plan, variant, configs, launch) -> object:
        chosen.extend((kernel, config) for config in configs)
        return [launch(config) for config in configs][-1]

    with (
        mock.patch.object(triton, 'run_tuned', each),
        mock.patch.object(triton, '_processors', lambda device: 132),
        mock.patch.object(triton, 'on_device', lambda device: mock.MagicMock()),
        mock.patch.object(fused, 'on_device', lambda device: mock.MagicMock()),
    ):
        yield


def launches_of(name: str, backward: bool, training: bool = False) -> list[tuple[str, Launch]]:
    """What a case launches, with every configuration that tuning may choose.

    Args:
        name: A key of ``CASES``.
        backward: Whether the launches of the backward pass are meant.
        training: Whether the forward pass keeps states for the backward one.

    Returns:
        Pairs of a configuration, as text, and a launch; segments have none.
    """
    chosen: list[tuple[str, Config]] = []
    with fake_gpu(), as_on_hopper(chosen), recorded_launches(triton_kernels) as launches:
        args, chunk = scan_of(name)
        if backward:
            chunks = -(-args.length // chunk)
            shape = (args.batch, args.directions, chunks, args.state, args.dim)
            out = torch.empty(args.batch, args.length, args.dim, dtype=args.u.dtype, device='cuda')
            triton.backward(args, chunk, torch.empty(shape, device='cuda'), out, None)
        else:
            triton.forward(args, chunk if training else 0, False)
    configs = iter(str(config) for _, config in chosen)
    tuned = ('_fwd_kernel', '_bwd_kernel')
    return [(next(configs) if x.name.endswith(tuned) else '', x) for x in launches]
