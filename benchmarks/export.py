"""Exported models beside the models themselves: nodes, differences and times on the CPU.

    python benchmarks/export.py mambaout_femto vim_tiny

Needs the extras: pip install "mmvmamba[export,openvino]". Times are medians, runs of all forms take
turns, one image, one thread.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch

import mmvmamba
from mmvmamba.deploy import export

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
    args = parser.parse_args()
    torch.set_num_threads(1)
    print('| model | ONNX nodes | difference | model | onnxruntime | OpenVINO | export |')
    print('|---|---|---|---|---|---|---|')
    for name in args.models:
        print(row(name, args.size, args.runs), flush=True)


def row(name: str, size: int | None, runs: int) -> str:
    """Exports a model and measures all its forms in turns."""
    import onnx
    import onnxruntime
    import openvino

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
        settings = {'INFERENCE_NUM_THREADS': 1, 'INFERENCE_PRECISION_HINT': 'f32'}
        compiled = openvino.compile_model(openvino.convert_model(made.path), 'CPU', settings)
        batch = images.numpy()
        (got,) = compiled(batch).values()
        forms = [
            lambda: model(images),
            lambda: session.run(None, {'images': batch}),
            lambda: compiled(batch),
        ]
        with torch.no_grad():
            times = interleaved(forms, runs)
            want = model(images)
    difference = ((torch.from_numpy(got) - want).abs().max() / want.abs().max()).item()
    own, ort, vino = times
    return (
        f'| {name} | {nodes:,} | {max(made.error, difference):.0e} | {1e3 * own:.0f} ms '
        f'| {ort / own:.2f}x | {vino / own:.2f}x | {seconds:.0f} s |'
    )


def interleaved(forms: list, runs: int) -> list[float]:
    """The median time of each form in seconds."""
    times: list[list[float]] = [[] for _ in forms]
    for _ in range(runs + 2):
        for form, found in zip(forms, times, strict=True):
            start = time.perf_counter()
            form()
            found.append(time.perf_counter() - start)
    return [statistics.median(found[2:]) for found in times]


if __name__ == '__main__':
    main()
