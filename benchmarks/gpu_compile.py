"""Compiles what the scans and models of the other scripts launch, in many processes: they find it.

python benchmarks/gpu_compile.py
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from family_scans import CASES, as_on_hopper, launches_of
from gpu_models import SCANNING
from torch.utils._python_dispatch import TorchDispatchMode

from mmvmamba.apis import get_model
from mmvmamba.fake_gpu import fake_autocast, fake_gpu, move_to_fake_gpu
from mmvmamba.ops.fused import triton as fused
from mmvmamba.ops.fused import triton_kernels as fused_kernels
from mmvmamba.ops.selective_scan import triton, triton_kernels
from mmvmamba.ops.selective_scan.arguments import ScanArgs
from mmvmamba.ops.triton_compile import Launch, compile_for, recorded_launches

__all__ = ['compile_all', 'main', 'pool_without_gpu']

# One image leaves a GPU so idle that sequences are cut into segments.
BATCHES = (128, 1)


def launches_of_pass(case: str, backward: bool, training: bool) -> list[Launch]:
    return [launch for _, launch in launches_of(case, backward, training)]


class _Launching(TorchDispatchMode):
    """Tensors without data have our operators launch what they would on a GPU."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name == 'gated_scan':
            triton.gated_forward(ScanArgs(*args[:10]), args[10])
        elif func.namespace == 'mmvmamba' and name in fused.__all__:
            getattr(fused, name)(*args)
        return func(*args, **(kwargs or {}))


def launches_of_model(name: str, batch: int) -> list[Launch]:
    """What a model launches in evaluation, under autocast; a training's scans are cases."""
    model = get_model(name).eval()
    with (
        fake_gpu(),
        as_on_hopper([]),
        recorded_launches(triton_kernels) as scans,
        recorded_launches(fused_kernels) as others,
        fake_autocast(),
        torch.no_grad(),
        _Launching(),
    ):
        move_to_fake_gpu(model)(torch.empty(batch, 3, 224, 224, device='cuda'))
    return [*scans, *others]


def compile_all(
    find: Callable[..., list[Launch]], what: tuple, architecture: int, most: int | None = None
) -> int:
    """Compiles the launches that are found, each kernel once; returns how many."""
    launches = list({launch.key(): launch for launch in find(*what)}.values())[:most]
    for launch in launches:
        compile_for(launch, 'cuda', architecture)
    return len(launches)


def pool_without_gpu(processes: int) -> ProcessPoolExecutor:
    """Processes that see no GPU: tensors without data would start it, which forks cannot do."""
    for name in ('CUDA_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES'):
        os.environ[name] = ''
    # One process imports, before it has met a GPU, and the others are its forks.
    context = get_context('forkserver')
    context.set_forkserver_preload(['gpu_compile'])
    return ProcessPoolExecutor(processes, mp_context=context)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--processes', type=int, default=os.cpu_count())
    parser.add_argument('--toy', action='store_true', help='one kernel, to see that it runs')
    args = parser.parse_args()
    architecture = 90
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        architecture = 10 * major + minor
    start = time.perf_counter()
    passes = ((True, False), (False, True), (False, False))
    jobs = [(launches_of_pass, (case, *kind)) for kind in passes for case in CASES]
    jobs += [(launches_of_model, (name, batch)) for batch in BATCHES for name in SCANNING]
    processes, most = args.processes, None
    if args.toy:
        jobs, processes, most = jobs[-1:], 1, 1
    with pool_without_gpu(processes) as pool:
        waiting = [pool.submit(compile_all, *job, architecture, most) for job in jobs]
        compiled = [future.result() for future in waiting]
    seconds = time.perf_counter() - start
    print(f'{sum(compiled)} kernels compiled for {architecture / 10} in {seconds:.0f} s')


if __name__ == '__main__':
    main()
