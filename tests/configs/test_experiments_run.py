"""The experiments of VMamba, Spatial-Mamba and MILA take a step and are evaluated, on toy data.

Networks, heads, losses, optimizers, schedules, hooks and transforms are those of the experiment.
Changed are the data with their number of classes; images have a quarter of the side, a batch two.
"""

import pytest

from mmvmamba.cli.configs import load_config, task_of
from mmvmamba.datasets import close_environments
from mmvmamba.datasets.lmdb.writer import BuildOptions, create_lmdb
from mmvmamba.datasets.toy import CLS_CLASSES, DET_CATEGORIES, make_toy_data
from tests.configs.test_configs import EXPERIMENTS, ROOT
from tests.one_step import toy_data_options, train_one_step

FAMILIES = ('vmamba', 'spatial_mamba', 'mila')
SMALLEST = {
    *(f'cls/{name}_in1k.py' for name in ('vmamba_tiny_s1l8', 'spatial_mamba_tiny', 'mila_tiny')),
    *('det/vmamba_tiny_s1l8_retinanet_1x.py', 'det/spatial_mamba_tiny_maskrcnn_3x.py'),
    *('det/mila_tiny_retinanet_1x.py', 'seg/vmamba_tiny_s1l8_upernet_160k.py'),
    *('seg/spatial_mamba_tiny_upernet_160k.py', 'seg/mila_tiny_upernet_160k.py'),
}
METRICS = {
    'classification': 'accuracy/top5',
    'detection': 'coco/bbox_mAP',
    'segmentation': 'mIoU',
}
SIZES = ('scale', 'scales', 'crop_size')
SHRINKAGE = 4


def experiments():
    names = [name for name in EXPERIMENTS if name.partition('/')[2].startswith(FAMILIES)]
    assert set(names) > SMALLEST
    return [
        pytest.param(name, marks=pytest.mark.slow if name in SMALLEST else pytest.mark.full)
        for name in names
    ]


def replace(node, keys, value_of):
    """Replaces the values of some keys at any depth, in place."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key in keys:
            node[key] = value_of(value)
        elif isinstance(value, dict | list):
            replace(value, keys, value_of)


def shrunk(size):
    if isinstance(size, list | tuple):
        return type(size)(shrunk(side) for side in size)
    return size // SHRINKAGE


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Folders of toy data by task."""
    out = tmp_path_factory.mktemp('data')
    names = dict(classification='imagenet', detection='coco', segmentation='ade20k')
    folders = {
        task: make_toy_data(out, name, num_train=12, num_val=6)[0] for task, name in names.items()
    }
    images = folders['classification']
    for split in ('train', 'val'):
        create_lmdb(images / split, images / f'{split}.lmdb', options=BuildOptions(workers=0))
    yield folders
    close_environments()


def small_config(name, data):
    path = str(ROOT / name)
    task = task_of(load_config(path))
    options = toy_data_options(data[task], has_annotation_file=task == 'detection')
    cfg = load_config(path, options | {'model.backbone.init_cfg': None})
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        replace(loader.dataset.pipeline, SIZES, shrunk)
        if task == 'detection':
            loader.dataset.metainfo = dict(classes=tuple(DET_CATEGORIES))
    if task == 'segmentation':
        # The toy masks have five of ADE20K's 150 labels.
        cfg.model.data_preprocessor.size = shrunk(cfg.model.data_preprocessor.size)
    else:
        classes = DET_CATEGORIES if task == 'detection' else CLS_CLASSES
        for part in (cfg.model, cfg.get('data_preprocessor', {})):
            replace(part, ('num_classes',), lambda _: len(classes))
    return cfg


@pytest.mark.parametrize('name', experiments())
def test_an_experiment_takes_a_step_and_is_evaluated(name, data, tmp_path):
    cfg = small_config(name, data)
    runner = train_one_step(cfg, tmp_path)
    figure = runner.message_hub.get_scalar(f'val/{METRICS[task_of(cfg)]}').current()
    assert 0 <= figure <= 100
    assert ('val/coco/segm_mAP' in runner.message_hub.log_scalars) == ('maskrcnn' in name)
