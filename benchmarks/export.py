"""Exported models beside the models themselves: nodes, differences and times on the CPU.

    python benchmarks/export.py mambaout_femto vim_tiny
    python benchmarks/export.py --unrolled

The second compares one scan with the form that has operators for each token, as traced loops have.
Needs the extra: pip install "mmvmamba[export]"; OpenVINO is measured where it is installed. Times
are medians of the processor's, which other programs hardly disturb; runs of all forms take turns,
one image, one thread.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import mmvmamba
from mmvmamba.deploy import export
from mmvmamba.ops import scan_backend, selective_scan
from mmvmamba.ops.scan_order import cross_orders

MODELS = (
    'mambaout_femto', 'mambavision_t', 'vmamba_tiny_s1l8', 'spatial_mamba_tiny', 'mila_tiny',
    'vim_tiny', 'plain_mamba_l1',
)  # fmt: skip


def main() -> None:
    """Prints a row of a Markdown table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('models', nargs='*', default=MODELS, metavar='MODEL')
    parser.add_argument('--size', type=int, help="side of the images; default: a model's own")
    parser.add_argument('--runs', type=int, default=15, help='runs of each form (default: 15)')
    parser.add_argument('--unrolled', action='store_true', help='compare scans, not models')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.unrolled:
        print(unrolled_row(args.runs))
        return
    print('| model | ONNX nodes | difference | model | onnxruntime | OpenVINO | export |')
    print('|---|---|---|---|---|---|---|')
    for name in args.models:
        print(row(name, args.size, args.runs), flush=True)


def row(name: str, size: int | None, runs: int) -> str:
    """Exports a model and measures all its forms in turns."""
    import onnx
    import onnxruntime

    model = mmvmamba.get_model(name)
    side = size or model.preprocessing.img_size
    images = torch.randn(1, 3, side, side)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        start = time.perf_counter()
        made = export(model, Path(folder) / f'{name}.onnx', 'onnx', side)
        seconds = time.perf_counter() - start
        nodes = len(onnx.load(made.path).graph.node)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(made.path, options)
        batch = images.numpy()
        forms = [lambda: model(images), lambda: session.run(None, {'images': batch})]
        if importlib.util.find_spec('openvino'):
            forms.append(openvino_form(made.path, batch))
        with torch.no_grad():
            own, *others = interleaved(forms, runs)
    ratios = [f'{time / own:.2f}x' for time in others] + ['not installed'] * (3 - len(forms))
    return (
        f'| {name} | {nodes:,} | {made.error:.0e} | {1e3 * own:.0f} ms | {" | ".join(ratios)} '
        f'| {seconds:.0f} s |'
    )


def openvino_form(path: Path, batch: np.ndarray) -> Callable[[], object]:
    """Runs an ONNX file in OpenVINO."""
    import openvino

    settings = {'INFERENCE_NUM_THREADS': 1, 'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = openvino.compile_model(openvino.convert_model(path), 'CPU', settings)
    return lambda: compiled(batch)


class Scan(nn.Module):
    """A scan with the sizes of VMamba-T's third stage, where most of its blocks are."""

    side, dim, state = 14, 384, 1

    def __init__(self) -> None:
        super().__init__()
        self.orders = cross_orders(self.side, self.side, torch.device('cpu'))

    def inputs(self) -> tuple[torch.Tensor, ...]:
        length, directions = self.orders.shape[1], len(self.orders)
        tokens = (1, directions, length)
        u = torch.randn(1, length, self.dim)
        B, C = (torch.randn(*tokens, 1, self.state) for _ in range(2))
        delta = torch.rand(*tokens, self.dim) / 10
        A = -torch.rand(directions, self.dim, self.state)
        return u, delta, A, B, C

    def forward(self, u, delta, A, B, C):
        return selective_scan(u, delta, A, B, C, orders=self.orders, channels_last=True)


class UnrolledScan(Scan):
    """The same with operators for each token, as traced loops have them; what needs no state is
    computed before them.
    """

    def forward(self, u, delta, A, B, C):
        rows = self.orders[None, :, :, None]
        u = u[:, self.orders]
        delta = delta.gather(2, rows.expand_as(delta))
        B, C = (x[..., 0, :].gather(2, rows.expand(-1, -1, -1, self.state)) for x in (B, C))
        decay = torch.exp(delta[..., None] * A[None, :, None])
        inputs = (delta * u)[..., None] * B[..., None, :]
        state, outputs = torch.zeros_like(inputs[:, :, 0]), []
        for token in range(self.orders.shape[1]):
            state = decay[:, :, token] * state + inputs[:, :, token]
            outputs.append((state * C[:, :, token, None]).sum(-1))
        y = torch.stack(outputs, 2)
        back = self.orders.argsort(1)[None, :, :, None].expand_as(y)
        return y.gather(2, back).sum(1)


def unrolled_row(runs: int) -> str:
    """Measures both scans in onnxruntime, in turns."""
    import onnxruntime

    inputs = Scan().inputs()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    forms, nodes, found = [], [], []
    for scan in (Scan(), UnrolledScan()):
        with torch.no_grad(), scan_backend('export'):
            program = torch.onnx.export(
                torch.export.export(scan, inputs), dynamo=True, opset_version=18, verbose=False
            )
        graph = program.model_proto
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
        names = [entry.name for entry in session.get_inputs()]
        feed = dict(zip(names, (x.numpy() for x in inputs), strict=True))
        forms.append(lambda s=session, f=feed: s.run(None, f))
        nodes.append(len(graph.graph.node))
        found.append(torch.from_numpy(forms[-1]()[0]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    lines = []
    for word, choose in (('median', statistics.median), ('fastest', min)):
        plain, unrolled = interleaved(forms, runs, choose)
        lines.append(
            f'{word}: plain operators {nodes[0]} nodes, {1e3 * plain:.1f} ms; unrolled {nodes[1]} '
            f'nodes, {1e3 * unrolled:.1f} ms; ratio {plain / unrolled:.2f}'
        )
    return '\n'.join(lines)


def interleaved(
    forms: list, runs: int, choose: Callable[[list[float]], float] = statistics.median
) -> list[float]:
    """One time of each form in seconds of the processor, of runs in turns."""
    times: list[list[float]] = [[] for _ in forms]
    for _ in range(runs + 2):
        for form, found in zip(forms, times, strict=True):
            start = time.process_time()
            form()
            found.append(time.process_time() - start)
    return [choose(found[2:]) for found in times]


if __name__ == '__main__':
    main()
