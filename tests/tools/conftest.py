import importlib.util
from pathlib import Path

import pytest

from mmvmamba.datasets.toy import make_toy_data

ROOT = Path(__file__).parents[2]


def load_tool(name):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def train_tool():
    return load_tool('train')


@pytest.fixture(scope='session')
def test_tool():
    return load_tool('test')


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
