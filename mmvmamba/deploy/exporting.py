"""``mmvmamba.export``: a model as a file that runs without this package, compared with it."""

import contextlib
import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmvmamba.apis.preprocess import MEAN, STD, Preprocessing
from mmvmamba.files import put_in_place
from mmvmamba.ops import scan_backend
from mmvmamba.ops.ms_deform_attn import deform_attn_backend
from mmvmamba.version import __version__

from .formats import FORMATS, Format, Run
from .networks import Network, example_images, network_of

__all__ = ['Exported', 'export']

# Largest difference, relative to the largest output: of float32, and of half precision.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 2e-2}
MAX_BATCH = 4096


@dataclass(frozen=True)
class Exported:
    """A file that was written and compared.

    Args:
        path: The file.
        error: The largest difference from the model, relative to the largest output.
        metadata: What the file says about the model.
    """

    path: Path
    error: float
    metadata: dict


def export(
    model: nn.Module,
    path: str | Path,
    format: str = 'onnx',
    shape: int | Sequence[int] | None = None,
    batch: int | Literal['dynamic'] = 1,
    half: bool = False,
    license: str | None = None,
    predictions: bool = False,
) -> Exported:
    """Writes a model as a file of another format and compares the file with the model.

    A classifier gives logits, a backbone its maps, a segmentor logits and labels at the size of the
    image, a detector what its dense head gives at each level. The input is ``images``: RGB,
    normalised by ``mean`` and ``std`` of the metadata. The model itself is not changed.

    Args:
        model: A model of ``get_model`` or a backbone, on the CPU.
        path: The file to write, with the ending of its format; an existing one is replaced once
            the new one is right.
        format: One of 'torch', 'onnx', 'openvino', 'aoti', 'torchscript'.
        shape: Height and width of the images, or one side; None for a classifier's own.
        batch: Images at a time, or 'dynamic'.
        half: Whether weights and input are float16.
        license: Of the weights, for the metadata.
        predictions: Whether a detector gives boxes, scores, labels and masks, too.

    Raises:
        ValueError: An argument does not fit, a format does not take the model, or the written file
            gives other numbers.
        ImportError: A package is missing that the format needs.
    """
    kind = _format(format)
    network = (
        _whole_detector(model, kind, format, batch, half) if predictions else network_of(model)
    )
    height, width = _shape(model, shape)
    _check_batch(batch, kind, format)
    path = Path(path)
    _check_path(path, kind, format)
    network = copy.deepcopy(network).eval().requires_grad_(False)
    network = network.half() if half else network.float()
    _check_weights(network, kind, format)
    dtype = torch.float16 if half else torch.float32
    count = 2 if batch == 'dynamic' else batch
    cases = [images.to(dtype) for images in example_images(count, (height, width))]
    metadata = _metadata(model, network, format, (height, width), batch, dtype, license)
    program = _trace(network, cases[0], batch == 'dynamic', type(model).__name__)
    with tempfile.TemporaryDirectory(prefix='.export-', dir=path.parent) as folder:
        part = Path(folder) / f'{path.stem or "model"}{kind.endings[0]}'
        _write(kind, format, program, network, cases[0], part, metadata)
        if batch == 'dynamic':
            # Of another number than it was traced with.
            cases.append(torch.cat(cases)[:3])
        error = _compare(kind.load(part), network, cases)
        if not error <= TOLERANCES[dtype]:
            raise ValueError(
                f'the {format} file gives other numbers than the model: the relative error is '
                f'{error:.2g}, allowed are {TOLERANCES[dtype]:g}; nothing was written'
            )
        _place(part, path)
    return Exported(path, error, metadata)


def _write(
    kind: Format,
    name: str,
    program: ExportedProgram,
    network: Network,
    images: Tensor,
    path: Path,
    metadata: dict,
) -> None:
    """Writes a file; one sentence if the format does not take the model."""
    try:
        with torch.no_grad(), _plain_operators():
            kind.write(program, network, images, path, metadata)
    except RuntimeError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(
            f'the format {name} does not take {type(network.model).__name__}: {_first_line(cause)}'
        ) from error


def _compare(run: Run, network: Network, cases: Sequence[Tensor]) -> float:
    """Runs a file; returns the largest error of all cases."""
    errors = []
    for images in cases:
        got = run(images)
        with torch.no_grad():
            errors.append(_error(got, network.wanted(images, got)))
    return max(errors)


def _whole_detector(
    model: nn.Module, kind: Format, format: str, batch: int | str, half: bool
) -> Network:
    """The network that chooses boxes, if everything asked for goes with it."""
    if not (hasattr(model, 'bbox_head') or hasattr(model, 'rpn_head')):
        raise ValueError(f'predictions are those of a detector, got {type(model).__name__}')
    from .detections import detector_of  # imports mmdet

    if not kind.chooses_boxes:
        able = [name for name, other in FORMATS.items() if other.chooses_boxes]
        raise ValueError(f'predictions are exported to {", ".join(able)} alone, not to {format}')
    if batch == 'dynamic' or half:
        raise ValueError('predictions need a number of images (batch) and float32 (half=False)')
    return detector_of(model)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f'format must be one of {list(FORMATS)}, got {name!r}')
    reason = FORMATS[name].missing()
    if reason is not None:
        raise ImportError(f'the format {name} {reason}')
    return FORMATS[name]


def _shape(model: nn.Module, shape: int | Sequence[int] | None) -> tuple[int, int]:
    if shape is None:
        preprocessing = getattr(model, 'preprocessing', None)
        if not isinstance(preprocessing, Preprocessing):
            raise ValueError('shape must be the height and width of the images; none is known here')
        shape = preprocessing.img_size
    sides = (shape, shape) if isinstance(shape, int) else tuple(shape)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f'shape must be a height and a width of 1 or more, got {shape}')
    return sides


def _check_batch(batch: int | str, kind: Format, name: str) -> None:
    if batch == 'dynamic' and kind.takes_free_batch:
        return
    if batch == 'dynamic':
        raise ValueError(f'the format {name} has graphs of one size alone: give batch as a number')
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch must be 1 or more, or 'dynamic', got {batch!r}")


def _check_path(path: Path, kind: Format, name: str) -> None:
    if not path.parent.is_dir():
        raise ValueError(f'the folder {path.parent} of {path.name} does not exist')
    if not path.name.endswith(kind.endings):
        endings = ' or '.join(kind.endings)
        raise ValueError(f'a file of the format {name} must end in {endings}, got {path.name}')


def _check_weights(network: Network, kind: Format, name: str) -> None:
    weights = (*network.parameters(), *network.buffers())
    size = sum(x.numel() * x.element_size() for x in weights)
    if kind.largest and size > kind.largest:
        able = ', '.join(other for other, form in FORMATS.items() if not form.largest)
        raise ValueError(
            f'the weights take {size / 1e9:.1f} GB, a file of the format {name} holds '
            f'{kind.largest / 1e9:.1f} GB: half them (half=True, --half), or choose {able}'
        )


@contextlib.contextmanager
def _plain_operators() -> Iterator[None]:
    """Lets the package's own operators be computed by those that every format has."""
    with scan_backend('export'), deform_attn_backend('export'):
        yield


def _trace(network: Network, images: Tensor, is_dynamic: bool, name: str) -> ExportedProgram:
    """Traces the network in plain operators; one sentence if it does not take the images."""
    shapes = ({0: Dim('batch', min=1, max=MAX_BATCH)},) if is_dynamic else None
    try:
        with torch.no_grad():
            network(images)
            with _plain_operators():
                # Not strict, as is the default since torch 2.9: a strict trace keeps the operators.
                return torch.export.export(network, (images,), dynamic_shapes=shapes, strict=False)
    except (RuntimeError, torch._dynamo.exc.UserError) as error:
        height, width = images.shape[-2:]
        raise ValueError(
            f'{name} does not take images of {height} x {width}, or has no graph of one size: '
            f'{_first_line(error)}'
        ) from error


def _metadata(
    model: nn.Module,
    network: Network,
    format: str,
    shape: tuple[int, int],
    batch: int | str,
    dtype: torch.dtype,
    license: str | None,
) -> dict:
    preprocessor = getattr(model, 'data_preprocessor', None)
    mean, std = list(MEAN), list(STD)
    if preprocessor is not None and getattr(preprocessor, 'mean', None) is not None:
        # The toolboxes' are those of values up to 255.
        mean = (preprocessor.mean.flatten() / 255).tolist()
        std = (preprocessor.std.flatten() / 255).tolist()
    classes = (
        (getattr(model, '_dataset_meta', None) or {}).get('classes')
        or (getattr(model, 'dataset_meta', None) or {}).get('classes')
        or ()
    )
    preparation = getattr(model, 'preprocessing', None)
    resize = {}
    if isinstance(preparation, Preprocessing):
        resize = dict(resize=preparation.resize_size, crop_mode=preparation.crop_mode)
    return dict(
        made_by=f'mmvmamba {__version__}',
        task=network.task,
        format=format,
        size=list(shape),
        batch=batch,
        dtype=str(dtype).removeprefix('torch.'),
        mean=mean,
        std=std,
        **resize,
        outputs=list(network.names),
        **network.facts,
        classes=list(classes),
        license=license or 'not stated',
    )


def _error(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference relative to an output's largest value; infinite for other shapes."""
    if [x.shape for x in got] != [x.shape for x in wanted]:
        return float('inf')
    errors = [
        ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-12)).item()
        for a, b in zip(got, wanted, strict=True)
    ]
    return max(error if error == error else float('inf') for error in errors)


def _place(part: Path, path: Path) -> None:
    """Gives what was written its name; weights that lie beside it go first."""
    for other in part.parent.glob(f'{part.stem}.bin'):
        put_in_place(other, path.with_suffix('.bin'))
    put_in_place(part, path)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
