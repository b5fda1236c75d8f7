"""mmdet's inferencer with our names, configs and weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config

from mmvmamba.apis.task_models import TASK_WEIGHTS, build_from_config, task_configs
from mmvmamba.hub import inferencers

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/toy/det_plain_mamba_maskrcnn.py'
IMAGE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A model and its weights, without any word about classes, as official files are."""
    torch.manual_seed(0)
    model = build_from_config(Config.fromfile(CONFIG)).eval()
    path = tmp_path_factory.mktemp('tiny') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return model, str(path)


def find(name):
    """What the inferencer's own look-up answers, without building anything."""
    inferencer = DetInferencer.__new__(DetInferencer)
    inferencer.scope = 'mmdet'
    return inferencer._load_model_from_metafile(name)


@pytest.mark.parametrize('by_name', [False, True], ids=['config', 'name'])
def test_config_or_name_with_weights_predicts(by_name, tiny, monkeypatch):
    expected, weights = tiny
    monkeypatch.setattr(inferencers, 'task_configs', lambda task: {'Tiny_Maskrcnn': CONFIG})
    model = 'tiny_maskrcnn' if by_name else str(CONFIG)
    inferencer = DetInferencer(model, weights, device='cpu', show_progress=False)
    for name, value in expected.state_dict().items():
        assert torch.equal(inferencer.model.state_dict()[name], value), name
    assert inferencer.model.dataset_meta['classes'] == ('disc', 'square', 'triangle')
    result = inferencer(IMAGE, pred_score_thr=0.0, return_vis=True)
    assert result['predictions'][0].keys() == {'labels', 'scores', 'bboxes', 'masks'}
    assert result['visualization'][0].shape == IMAGE.shape


def test_classes_of_the_file_go_before_those_of_the_config(tiny, tmp_path):
    model, _ = tiny
    path = tmp_path / 'named.pth'
    meta = dict(dataset_meta=dict(classes=('a', 'b', 'c'), palette=[(1, 1, 1)] * 3))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    inferencer = DetInferencer(str(CONFIG), str(path), device='cpu', show_progress=False)
    assert inferencer.model.dataset_meta['classes'] == ('a', 'b', 'c')


def test_every_detector_is_found_with_its_official_weights():
    names = list(task_configs('detection'))
    assert len(names) >= 15
    for name in names:
        config, weights = find(name.upper())
        assert Path(config.filename) == task_configs('detection')[name]
        assert weights == TASK_WEIGHTS.get(name)


def test_models_of_mmdet_are_still_found():
    config, weights = find('rtmdet-s')
    assert config.model.type == 'RTMDet'
    assert weights.startswith('https://')


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r'l1_maskrcn_1x in mmdet; did you mean .l1_maskrcnn_1x.'):
        find('l1_maskrcn_1x')
    with pytest.raises(ValueError, match=r'Cannot find model: nothing like it in mmdet$'):
        find('nothing like it')
