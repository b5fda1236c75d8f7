"""Compiles the scan's kernels as the families call them, in many processes: later runs find them.

python benchmarks/gpu_compile.py
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from family_scans import CASES, launches_of

from mmvmamba.ops.triton_compile import compile_for

__all__ = ['compile_pass', 'main', 'pool_without_gpu']


def compile_pass(case: str, backward: bool, architecture: int, most: int | None = None) -> int:
    """Compiles the kernels of a pass with every configuration; returns how many."""
    launches = [launch for _, launch in launches_of(case, backward)][:most]
    for launch in launches:
        compile_for(launch, 'cuda', architecture)
    return len(launches)


def pool_without_gpu(processes: int) -> ProcessPoolExecutor:
    """Processes that see no GPU: tensors without data would start it, which forks cannot do."""
    for name in ('CUDA_VISIBLE_DEVICES', 'HIP_VISIBLE_DEVICES'):
        os.environ[name] = ''
    return ProcessPoolExecutor(processes, mp_context=get_context('spawn'))


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
    passes = [(case, backward) for backward in (True, False) for case in CASES]
    processes, most = args.processes, None
    if args.toy:
        passes, processes, most = passes[-1:], 1, 1
    with pool_without_gpu(processes) as pool:
        waiting = [pool.submit(compile_pass, *one, architecture, most) for one in passes]
        compiled = [future.result() for future in waiting]
    seconds = time.perf_counter() - start
    print(f'{sum(compiled)} kernels compiled for {architecture / 10} in {seconds:.0f} s')


if __name__ == '__main__':
    main()
