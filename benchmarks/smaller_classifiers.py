"""A trained classifier in bfloat16 and int8 on the CPU: agreement with float32, and time.

    python benchmarks/smaller_classifiers.py configs/toy/cls_mambaout.py work_dirs/toy/epoch_5.pth \
        --images data/toy/imagenet --static

The folder of images has train/ and val/ with a folder for each class. Static int8 needs the extra
export. Times are medians over runs in turns, one thread. Without a checkpoint, weights and images
are random and the times alone mean something:

    python benchmarks/smaller_classifiers.py vim_tiny
"""

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from common import command_line, machine, markdown_table, median, set_threads, take_turns
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from mmvmamba.apis.bare_models import bare_config, build_bare, default_shape
from mmvmamba.apis.preprocess import MEAN, STD
from mmvmamba.checkpoint import load_model
from mmvmamba.deploy import export

Form = Callable[[Tensor], Tensor]
CALIBRATION = 128


def main() -> None:
    """Prints a row for each form of the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', help='a name of mmvmamba list, or a config file')
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('--images', type=Path, metavar='DIR')
    parser.add_argument(
        '--static', action='store_true', help="int8 by onnxruntime's quantiser, too"
    )
    parser.add_argument('--runs', type=int, default=20, help='of each form (default: 20)')
    args = parser.parse_args()
    if (args.static or args.checkpoint) and not args.images:
        parser.error('a checkpoint and --static need --images')
    set_threads(1)
    config = bare_config(args.model)
    model = build_bare(config)
    if args.checkpoint:
        load_model(model, args.checkpoint)
    shape = default_shape(config)
    forms = make_forms(model)
    if args.static:
        forms |= onnx_forms(model, shape, args.images)
    if args.images:
        images, labels = read_images(args.images / 'val', shape)
    else:
        images, labels = torch.randn(8, 3, *shape), torch.zeros(8)
    print(f'{machine()}, {len(images)} images\n\n    {command_line()}\n')
    print(markdown_table(*rows(forms, images, labels, args.runs)))


def make_forms(model: nn.Module) -> dict[str, Form]:
    """The model, in bfloat16, and with the weights of its linear layers in int8."""
    half = copy.deepcopy(model).bfloat16()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch moves this into another package
        dynamic = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, torch.qint8)
        setting = torch.ao.quantization.default_dynamic_qconfig
        names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        spec = {name: setting for name in names if not name.endswith('out_proj')}
        # What comes out of a gated scan has outliers, which coarsen the scale of all others.
        careful = torch.ao.quantization.quantize_dynamic(model, spec, torch.qint8)
    return {
        'float32': model,
        'bfloat16': lambda images: half(images.bfloat16()).float(),
        'int8, dynamic': dynamic,
        'int8, dynamic, out_proj in float32': careful,
    }


def onnx_forms(model: nn.Module, shape: tuple[int, int], folder: Path) -> dict[str, Form]:
    """The model in onnxruntime, in float32 and in int8 with scales from images of training."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader:
        def __init__(self) -> None:
            images, _ = read_images(folder / 'train', shape, CALIBRATION)
            self.batches: Iterator[Tensor] = iter(images.split(1))

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {'images': batch.numpy()}

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        plain, prepared, small = (Path(name) / f'{i}.onnx' for i in range(3))
        export(model, plain, 'onnx', shape, batch='dynamic')
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            small,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # Norms and sums between them stay in float32.
            op_types_to_quantize=['Conv', 'MatMul', 'Gemm'],
        )
        sizes = {file: file.stat().st_size / 2**20 for file in (plain, small)}
        return {
            f'{title} ({sizes[file]:.1f} MB)': _run_onnx(file)
            for title, file in (('onnxruntime', plain), ('onnxruntime int8, static', small))
        }


def _run_onnx(file: Path) -> Form:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=['CPUExecutionProvider'])
    return lambda images: torch.from_numpy(session.run(None, {'images': images.numpy()})[0])


def read_images(
    folder: Path, shape: tuple[int, int], count: int | None = None
) -> tuple[Tensor, Tensor]:
    """Normalised images and their labels; of many some of each class."""
    steps = [v2.PILToTensor(), v2.Resize(shape), v2.ToDtype(torch.float32, scale=True)]
    data = ImageFolder(folder, v2.Compose([*steps, v2.Normalize(MEAN, STD)]))
    every = range(0, len(data), max(1, len(data) // (count or len(data))))
    images, labels = zip(*(data[i] for i in every), strict=True)
    return torch.stack(images), torch.tensor(labels)


def rows(
    forms: dict[str, Form], images: Tensor, labels: Tensor, runs: int
) -> tuple[list[str], list[dict]]:
    """Columns and rows of the table."""
    with torch.inference_mode():
        found = {name: form(images).argmax(1) for name, form in forms.items()}
        times = {
            size: take_turns(
                [lambda f=form, n=size: f(images[:n]) for form in forms.values()], least=runs
            )
            for size in (1, 8)
        }
    columns = ['form', 'top-1', 'same class as float32', 'time, 1 image', 'time, 8 images']
    table = []
    for number, (name, classes) in enumerate(found.items()):
        ratios = [median(taken[number]) / median(taken[0]) for taken in times.values()]
        shares = [(classes == x).float().mean() for x in (labels, found['float32'])]
        cells = [name, *(f'{100 * x:.1f} %' for x in shares), *(f'{x:.2f}x' for x in ratios)]
        table.append(dict(zip(columns, cells, strict=True)))
    return columns, table


if __name__ == '__main__':
    main()
