"""The notebooks: small, without outputs, and they run."""

import base64
import json
import os
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmvmamba.apis.bare_models import bare_config, build_bare
from mmvmamba.cli.main import build_parser
from tests.tools.conftest import ROOT

NOTEBOOKS = sorted((ROOT / 'demo').glob('*.ipynb'))
TOY = str(ROOT / 'configs' / 'toy' / '{}.py')


def code_of(path):
    cells = json.loads(path.read_text())['cells']
    return [cell for cell in cells if cell['cell_type'] == 'code']


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_has_no_outputs(path):
    assert path.stat().st_size < 10_000
    for cell in code_of(path):
        assert not cell['outputs'] and cell['execution_count'] is None
    # What a reader may change stands first.
    assert code_of(path)[0]['metadata'] == {'tags': ['parameters']}


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_the_commands_of_a_notebook_have_known_arguments(path):
    lines = [line for cell in code_of(path) for line in ''.join(cell['source']).splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith('!mmvmamba ')]
    assert bool(commands) == (path.stem == 'finetune')
    for command in commands:
        words = [word.replace('{epochs}', '1') for word in command if word != '{begin}']
        build_parser().parse_args(words)


def run_notebook(name, folder, parameters, monkeypatch):
    """Runs a notebook with other parameters; gives its pictures, blue first."""
    nbformat = pytest.importorskip('nbformat', reason='nbformat is not installed')
    client = pytest.importorskip('nbclient', reason='nbclient is not installed')
    pytest.importorskip('ipykernel', reason='ipykernel is not installed')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    monkeypatch.setenv(
        'PATH', os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    )
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'torch')
    notebook = nbformat.read(ROOT / 'demo' / f'{name}.ipynb', as_version=4)
    lines = [f'{key} = {value!r}' for key, value in parameters.items()]
    at = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == 'code')
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell('\n'.join(lines)))
    resources = dict(metadata=dict(path=str(folder)))
    client.NotebookClient(notebook, timeout=900, resources=resources).execute()
    data = [output.get('data', {}) for cell in notebook.cells for output in cell.get('outputs', ())]
    coded = [base64.b64decode(item['image/png']) for item in data if 'image/png' in item]
    pictures = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) for png in coded]
    assert all(picture.std() > 5 for picture in pictures), 'none is blank'
    return pictures


@pytest.mark.slow
def test_look_inside(tmp_path, monkeypatch):
    families = dict(model='vim', hybrid='mambavision')
    parameters = {key: TOY.format(f'cls_{family}') for key, family in families.items()}
    parameters['others'] = tuple(TOY.format(f'cls_{name}') for name in ('plain_mamba', 'vmamba'))
    assert len(run_notebook('look_inside', tmp_path, parameters, monkeypatch)) == 9


@pytest.mark.full
def test_predict(tmp_path, monkeypatch):
    names = dict(
        classifier='cls_mambaout', detector='det_mambaout_maskrcnn', segmentor='seg_mambaout'
    )
    parameters = {}
    for key, name in names.items():
        torch.manual_seed(0)
        model = build_bare(bare_config(TOY.format(name)))
        weights = tmp_path / f'{name}.pth'
        torch.save(dict(state_dict=model.state_dict()), weights)
        parameters[key] = (TOY.format(name), str(weights))
    # The image, the classes, the boxes and the regions.
    pictures = run_notebook('predict', tmp_path, parameters, monkeypatch)
    assert [picture.shape[:2] for picture in pictures[:1]] == [(320, 480)]
    assert len(pictures) == 4


@pytest.mark.full
def test_finetune(tmp_path, monkeypatch):
    parameters = dict(model='mambaout_test', weights='none', epochs=1)
    # Curves, confusion, the worst images, and a prediction.
    assert len(run_notebook('finetune', tmp_path, parameters, monkeypatch)) == 4
    assert list(tmp_path.glob('work_dirs/finetune/run/epoch_1.pth'))
