"""The formats of exported models: how each is written and run."""

import importlib.util
import io
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from .networks import Network
from .onnx_graph import to_onnx

__all__ = ['FORMATS', 'Format', 'Run']

KEY = 'mmvmamba'
# Of protobuf, in which ONNX is written.
LARGEST_MESSAGE = 2**31 - 1
Run = Callable[[Tensor], list[Tensor]]


class Format:
    """A format of files.

    Attributes:
        endings: Of the names of its files; the first is the usual one.
        largest: Bytes of weights in a file, if it has a limit.
        packages: What has to be importable, and the command that installs it.
        takes_free_batch: Whether the batch may be left free.
        chooses_boxes: Whether it has the operators that choose boxes and cut regions out.
    """

    endings: tuple[str, ...]
    largest: int | None = None
    packages: tuple[str, ...] = ()
    install = ''
    takes_free_batch = True
    chooses_boxes = False

    def missing(self) -> str | None:
        """Why the format cannot be written here, or None."""
        absent = [name for name in self.packages if importlib.util.find_spec(name) is None]
        return f'needs {", ".join(absent)}: {self.install}' if absent else None

    def write(
        self, program: ExportedProgram, network: Network, images: Tensor, path: Path, meta: dict
    ) -> None:
        """Writes a file; what else belongs to it comes beside it."""
        raise NotImplementedError

    def load(self, path: Path) -> Run:
        """Loads a file as a function of images."""
        raise NotImplementedError

    def metadata(self, path: Path) -> dict:
        """What a file says about its model."""
        raise NotImplementedError


class TorchProgram(Format):
    """``torch.export``'s own file; ``torch.export.load`` reads it without this package."""

    endings = ('.pt2',)

    def write(
        self, program: ExportedProgram, network: Network, images: Tensor, path: Path, meta: dict
    ) -> None:
        torch.export.save(program, path, extra_files={f'{KEY}.json': json.dumps(meta)})

    def load(self, path: Path) -> Run:
        with warnings.catch_warnings():
            # Of torch, about how it reads its own file.
            warnings.filterwarnings('ignore', 'The given buffer is not writable', UserWarning)
            module = torch.export.load(path).module()
        return lambda images: list(module(images))

    def metadata(self, path: Path) -> dict:
        extra = {f'{KEY}.json': ''}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra[f'{KEY}.json'])


class OneShape(nn.Module):
    """A traced module that refuses images of another shape: its sizes are constants.

    Args:
        traced: A module of images.
        shape: Of the images it was traced with.
    """

    def __init__(self, traced: nn.Module, shape: list[int]) -> None:
        super().__init__()
        self.traced = traced
        self.shape = shape

    # Without types: what the traced module returns is known to the compiler alone.
    def forward(self, images):  # type: ignore[no-untyped-def]
        if list(images.shape) != self.shape:
            raise ValueError(f'images must be {self.shape}, got {list(images.shape)}')
        return self.traced(images)


class TorchScript(Format):
    """A traced module, for programs in C++ that have libtorch; torch no longer develops it."""

    endings = ('.ts', '.pt')
    takes_free_batch = False

    def write(
        self, program: ExportedProgram, network: Network, images: Tensor, path: Path, meta: dict
    ) -> None:
        with warnings.catch_warnings():
            # It is deprecated, and sizes become constants: both are said in the documentation.
            warnings.simplefilter('ignore')
            traced = torch.jit.trace(network, images, check_trace=False)
            checked = torch.jit.script(OneShape(traced, list(images.shape)).eval())
            torch.jit.save(
                torch.jit.freeze(checked), path, _extra_files={f'{KEY}.json': json.dumps(meta)}
            )

    def load(self, path: Path) -> Run:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            module = torch.jit.load(path)
        return lambda images: list(module(images))

    def metadata(self, path: Path) -> dict:
        extra = {f'{KEY}.json': ''}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            torch.jit.load(path, _extra_files=extra)
        return json.loads(extra[f'{KEY}.json'])


class Onnx(Format):
    """ONNX, checked by onnxruntime on the CPU."""

    endings = ('.onnx',)
    largest = LARGEST_MESSAGE
    packages = ('onnx', 'onnxscript', 'onnxruntime')
    install = 'pip install "mmvmamba[export]"'
    chooses_boxes = True

    def write(
        self, program: ExportedProgram, network: Network, images: Tensor, path: Path, meta: dict
    ) -> None:
        import onnx_ir

        model = to_onnx(program, list(network.names))
        model.metadata_props[KEY] = json.dumps(meta)
        onnx_ir.save(model, path)

    def load(self, path: Path) -> Run:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        return lambda images: [
            torch.from_numpy(np.asarray(x)) for x in session.run(None, {'images': images.numpy()})
        ]

    def metadata(self, path: Path) -> dict:
        import onnx

        model = onnx.load(path, load_external_data=False)
        return json.loads({p.key: p.value for p in model.metadata_props}[KEY])


class OpenVino(Format):
    """OpenVINO's pair of files, ``.xml`` and ``.bin``, made from ONNX."""

    endings = ('.xml',)
    largest = LARGEST_MESSAGE
    packages = ('onnx', 'onnxscript', 'openvino')
    install = 'pip install "mmvmamba[export,openvino]"'

    def write(
        self, program: ExportedProgram, network: Network, images: Tensor, path: Path, meta: dict
    ) -> None:
        import onnx_ir
        import openvino

        buffer = io.BytesIO(
            onnx_ir.to_proto(to_onnx(program, list(network.names))).SerializeToString()
        )
        model = openvino.convert_model(buffer)
        model.set_rt_info(json.dumps(meta), KEY)
        openvino.save_model(model, path, compress_to_fp16=False)

    def load(self, path: Path) -> Run:
        import openvino

        # Full precision: OpenVINO may choose bfloat16 on CPUs that have it.
        compiled = openvino.compile_model(path, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
        return lambda images: [torch.from_numpy(x) for x in compiled(images.numpy()).values()]

    def metadata(self, path: Path) -> dict:
        import openvino

        return json.loads(openvino.Core().read_model(path).get_rt_info(KEY).astype(str))


class AotInductor(Format):
    """A library that torch compiled for this kind of machine."""

    endings = ('.aoti.pt2', '.pt2')

    def missing(self) -> str | None:
        compiler = shutil.which('g++') or shutil.which('clang++')
        return None if compiler else 'needs a C++ compiler: install g++'

    def write(
        self, program: ExportedProgram, network: Network, images: Tensor, path: Path, meta: dict
    ) -> None:
        from torch._inductor import aoti_compile_and_package

        # torch takes names of this ending alone.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            package = str(Path(folder) / 'model.pt2')
            settings: dict[str, Any] = {'aot_inductor.metadata': {KEY: json.dumps(meta)}}
            with warnings.catch_warnings():
                # Of torch, about its own parts.
                warnings.simplefilter('ignore', FutureWarning)
                aoti_compile_and_package(program, package_path=package, inductor_configs=settings)
            shutil.move(package, path)

    def load(self, path: Path) -> Run:
        from torch._inductor import aoti_load_package

        package = aoti_load_package(str(path))
        return lambda images: list(package(images))

    def metadata(self, path: Path) -> dict:
        from torch._inductor import aoti_load_package

        return json.loads(aoti_load_package(str(path)).get_metadata()[KEY])


FORMATS: dict[str, Format] = {
    'torch': TorchProgram(),
    'onnx': Onnx(),
    'openvino': OpenVino(),
    'aoti': AotInductor(),
    'torchscript': TorchScript(),
}
