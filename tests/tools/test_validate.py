"""`tools/validate.py` against `tools/test.py`, on folders and databases."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmvmamba.apis import get_model, model_config
from mmvmamba.datasets.lmdb.writer import BuildOptions, create_lmdb

pytest.importorskip('mmpretrain')
TOOLS = Path(__file__).parents[2] / 'tools'
NAME, NUM_CLASSES = 'mambaout_femto', 6


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with val and val.lmdb of six classes of images, and a checkpoint for them."""
    root = tmp_path_factory.mktemp('data')
    generator = np.random.default_rng(0)
    for label in range(NUM_CLASSES):
        folder = root / 'folders' / 'val' / f'class{label}'
        folder.mkdir(parents=True)
        for i in range(3):
            array = generator.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
            Image.fromarray(array).resize((300, 260)).save(folder / f'{i}.jpg')
    create_lmdb(
        root / 'folders' / 'val', root / 'bases' / 'val.lmdb', options=BuildOptions(workers=0)
    )
    torch.manual_seed(0)
    model = get_model(NAME, num_classes=NUM_CLASSES)
    with torch.no_grad():
        model.head.fc.weight.normal_()
    torch.save(dict(state_dict=model.state_dict()), root / 'model.pth')
    return root


def run(tool, argv, capsys):
    tool.main(argv)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith('| acc')]


@pytest.mark.slow
def test_both_tools_report_the_same_figures(data, tmp_path, capsys):
    config = model_config(NAME, NUM_CLASSES)
    pipeline = config.test_dataloader.dataset.pipeline
    config.test_dataloader = dict(
        batch_size=5,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='mmvmamba.ImageNetLMDB',
            data_root=str(data / 'bases'),
            data_prefix='val',
            pipeline=pipeline,
        ),
    )
    config.test_cfg = dict()
    config.test_evaluator = dict(type='Accuracy', topk=(1, 5))
    config.dump(tmp_path / 'config.py')
    checkpoint = str(data / 'model.pth')
    argv = [str(tmp_path / 'config.py'), checkpoint, '--work-dir', str(tmp_path / 'work')]
    want = run(load_tool('test'), argv, capsys)
    assert len(want) == 2
    for folder in ('folders', 'folders/val', 'bases', 'bases/val.lmdb'):
        argv = ['--model', NAME, '--data', str(data / folder), '--checkpoint', checkpoint]
        got = run(load_tool('validate'), [*argv, '--batch-size', '5', '--workers', '0'], capsys)
        assert got == want


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--data', 'nowhere'], '--data nowhere does not exist'),
        (['--data', '{data}'], 'must have 6 class folders'),
        (['--data', '{data}/bases/val.lmdb', '--checkpoint', 'none.pth'], 'none.pth'),
    ],
)
def test_bad_input_ends_in_one_line(data, argv, message, capsys):
    argv = ['--model', NAME, '--checkpoint', str(data / 'model.pth'), *argv]
    with pytest.raises(SystemExit) as caught:
        load_tool('validate').main([item.format(data=data) for item in argv])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.count('\n') == 1 and message in error


@pytest.fixture
def named(data, tmp_path):
    """A checkpoint that knows the names of its six classes; two have changed places."""
    saved = torch.load(data / 'model.pth', weights_only=True)
    names = tuple(f'class{i}' for i in (1, 0, 2, 3, 4, 5))
    torch.save(saved | dict(meta=dict(dataset_meta=dict(classes=names))), tmp_path / 'named.pth')
    return tmp_path / 'named.pth'


@pytest.mark.parametrize('source', ['bases/val.lmdb', 'folders/val'])
def test_data_whose_classes_are_not_the_checkpoints_end_in_one_line(data, named, source, capsys):
    argv = ['--model', NAME, '--checkpoint', str(named), '--data', str(data / source)]
    with pytest.raises(SystemExit) as caught:
        load_tool('validate').main(argv)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count('\n') == 1
    assert "in their order: label 0 is 'class1' there and 'class0' here" in error


def test_a_database_of_another_number_of_classes_ends_in_one_line(data, tmp_path, capsys):
    model = get_model(NAME, num_classes=4)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'four.pth')
    argv = ['--model', NAME, '--checkpoint', str(tmp_path / 'four.pth')]
    with pytest.raises(SystemExit) as caught:
        load_tool('validate').main([*argv, '--data', str(data / 'bases')])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count('\n') == 1
    assert 'the model expects 4 classes, the data set has 6' in error
