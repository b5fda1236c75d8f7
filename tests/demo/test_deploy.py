"""The program that classifies with an exported file, without torch and without this package."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmvmamba
from mmvmamba.deploy import export
from mmvmamba.testing import load_filled

SCRIPT = Path(__file__).parents[2] / 'demo' / 'deploy' / 'classify.py'
BLOCKED = f"""
import runpy, sys
for name in ('torch', 'torchvision', 'mmvmamba', 'mmengine', 'cv2'):
    sys.modules[name] = None
sys.argv = [{str(SCRIPT)!r}, *sys.argv[1:]]
runpy.run_path({str(SCRIPT)!r}, run_name='__main__')
"""


def run(*arguments):
    command = [sys.executable, '-c', BLOCKED, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def model():
    arch = dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))
    model = load_filled(mmvmamba.get_model('mambaout_femto', num_classes=3, arch=arch))
    model._dataset_meta = dict(classes=('ant', 'a "bee"', 'cow'))
    return model


@pytest.fixture
def picture():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((420, 300))


def check(printed, want, tolerance):
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert [name for _, name in lines] == [guess.name for guess in want]
    for (score, _), guess in zip(lines, want, strict=True):
        assert float(score) == pytest.approx(guess.score, abs=tolerance)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_it_says_what_classify_says_without_torch(model, picture, tmp_path):
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package, reason='needs the extra export')
    made = export(model, tmp_path / 'model.onnx')
    image = tmp_path / 'image.png'
    picture.save(image)
    result = run(made.path, image, '--topk', 3)
    assert result.returncode == 0, result.stderr
    check(result.stdout, mmvmamba.classify(model, str(image), topk=3), 1e-3)
    image.write_text('no image')
    wrong = run(made.path, image)
    assert wrong.returncode == 2 and 'cannot identify image file' in wrong.stderr
    assert 'Traceback' not in wrong.stderr
    missing = run(tmp_path / 'none.onnx', image)
    assert missing.returncode == 2 and 'Traceback' not in missing.stderr


@pytest.mark.full
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_the_program_in_cpp_says_what_classify_says(model, picture, tmp_path):
    openvino = pytest.importorskip('openvino', reason='needs the extra openvino')
    for package in ('onnx', 'onnxscript'):
        pytest.importorskip(package, reason='needs the extra export')
    if shutil.which('g++') is None:
        pytest.skip('needs g++')
    home, program = Path(openvino.__file__).parent, tmp_path / 'classify'
    library = next((home / 'libs').glob('libopenvino.so.*'))
    command = ['g++', '-std=c++17', '-O1', '-Wall', '-Werror', SCRIPT.with_suffix('.cpp'),
               f'-isystem{home / "include"}', library, f'-Wl,-rpath,{library.parent}',
               '-o', program]  # fmt: skip
    subprocess.run(command, check=True)
    made = export(model, tmp_path / 'model.xml', 'openvino')
    image = tmp_path / 'image.ppm'
    picture.save(image)
    result = subprocess.run([program, made.path, image], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    check(result.stdout, mmvmamba.classify(model, str(image), topk=3), 2e-3)
    image.write_text('no image')
    for file, message in ((image, 'no binary PPM image'), (tmp_path / 'none', 'there is no image')):
        wrong = subprocess.run([program, made.path, file], capture_output=True, text=True)
        assert wrong.returncode == 2 and message in wrong.stderr
