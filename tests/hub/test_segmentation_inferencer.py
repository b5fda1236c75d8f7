"""mmseg's inferencer with our names, configs and weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmvmamba import MMSegInferencer
from mmvmamba.apis.task_models import TASK_WEIGHTS, build_from_config, task_configs
from mmvmamba.hub import named_models

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/toy/seg_mambaout.py'
CLASSES = ('background', 'disc', 'square', 'triangle', 'cross')
IMAGE = np.random.default_rng(0).integers(0, 255, (70, 96, 3), np.uint8)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A model and its weights, without any word about classes, as official files are."""
    torch.manual_seed(0)
    model = build_from_config(Config.fromfile(CONFIG)).eval()
    path = tmp_path_factory.mktemp('tiny') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return model, str(path)


@pytest.mark.parametrize('by_name', [False, True], ids=['config', 'name'])
def test_config_or_name_with_weights_predicts(by_name, tiny, monkeypatch, tmp_path):
    expected, weights = tiny
    monkeypatch.setattr(named_models, 'task_configs', lambda task: {'Tiny_UperNet': CONFIG})
    model = 'tiny_upernet' if by_name else str(CONFIG)
    inferencer = MMSegInferencer(model, weights, device='cpu')
    for name, value in expected.state_dict().items():
        assert torch.equal(inferencer.model.state_dict()[name], value), name
    assert tuple(inferencer.model.dataset_meta['classes']) == CLASSES
    assert tuple(inferencer.visualizer.dataset_meta['classes']) == CLASSES
    assert len(inferencer.visualizer.dataset_meta['palette']) == len(CLASSES)
    result = inferencer(IMAGE, out_dir=str(tmp_path), return_vis=True)
    assert result['predictions'].shape == IMAGE.shape[:2]
    assert set(np.unique(result['predictions'])) <= set(range(5))
    assert result['visualization'].shape == IMAGE.shape
    assert len(list(tmp_path.rglob('*.*'))) == 2, 'the labels and the picture'


def test_classes_and_colours_that_are_given_are_drawn(tiny):
    names, colours = ['a', 'b', 'c', 'd', 'e'], [[10 * i] * 3 for i in range(5)]
    inferencer = MMSegInferencer(str(CONFIG), tiny[1], names, colours, device='cpu')
    assert inferencer.visualizer.dataset_meta == dict(classes=names, palette=colours)
    inferencer = MMSegInferencer(str(CONFIG), tiny[1], dataset_name='ade20k', device='cpu')
    assert len(inferencer.visualizer.dataset_meta['classes']) == 150


def test_every_segmentor_is_found_with_its_official_weights():
    inferencer = MMSegInferencer.__new__(MMSegInferencer)
    inferencer.scope = 'mmseg'
    names = list(task_configs('segmentation'))
    assert len(names) >= 15
    assert 'finetune_example' not in names
    for name in names:
        config, weights = inferencer._load_model_from_metafile(name.upper())
        assert Path(config.filename) == task_configs('segmentation')[name]
        assert weights == TASK_WEIGHTS.get(name)
