import importlib.util
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmvmamba.cli import test_run, train_run
from mmvmamba.cli.main import parse_args
from mmvmamba.datasets.toy import make_toy_data

ROOT = Path(__file__).parents[2]


def load_tool(name):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tool_with_parts(name, parts):
    """A tool beside what its command is made of: how arguments are read, and what they do."""
    return SimpleNamespace(
        **{part: getattr(parts, part) for part in parts.__all__},
        main=load_tool(name).main,
        parse_args=partial(parse_args, name),
    )


@pytest.fixture(scope='session')
def train_tool():
    return tool_with_parts('train', train_run)


@pytest.fixture(scope='session')
def test_tool():
    return tool_with_parts('test', test_run)


@pytest.fixture(scope='session')
def check_dataset_tool():
    return load_tool('misc/check_dataset')


@pytest.fixture(scope='session')
def toy_config():
    return str(ROOT / 'configs/toy/det_plain_mamba_maskrcnn.py')


@pytest.fixture(scope='session')
def toy_coco(tmp_path_factory):
    folder, _ = make_toy_data(tmp_path_factory.mktemp('data'), 'coco', num_train=8, num_val=4)
    return folder


@pytest.fixture(scope='session')
def toy_options(toy_coco):
    """--cfg-options that point the toy config at a very small data set."""
    annotations = f'{toy_coco}/annotations/instances_val2017.json'
    return [
        f'train_dataloader.dataset.data_root={toy_coco}',
        f'val_dataloader.dataset.data_root={toy_coco}',
        f'test_dataloader.dataset.data_root={toy_coco}',
        f'val_evaluator.ann_file={annotations}',
        f'test_evaluator.ann_file={annotations}',
    ]
