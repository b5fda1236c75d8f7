"""mmdet's inferencer with our names, configs and weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvmamba import DetInferencer
from mmvmamba.apis.task_models import TASK_WEIGHTS, build_from_config, task_configs
from mmvmamba.checkpoint import CheckpointError
from mmvmamba.hub import named_models

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
    monkeypatch.setattr(named_models, 'task_configs', lambda task: {'Tiny_Maskrcnn': CONFIG})
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


def test_weights_of_another_model_are_refused(tiny, tmp_path):
    model, _ = tiny
    state = model.state_dict()
    state.pop('backbone.norm.weight', None)
    state.pop(next(iter(state)))
    torch.save(dict(state_dict=state), tmp_path / 'cut.pth')
    with pytest.raises(CheckpointError, match='missing in the file'):
        DetInferencer(str(CONFIG), str(tmp_path / 'cut.pth'), device='cpu')


def test_default_scope_is_left_as_it_was(tiny):
    before = dict(DefaultScope._instance_dict)
    inferencer = DetInferencer(str(CONFIG), tiny[1], device='cpu', show_progress=False)
    inferencer(IMAGE)
    assert DefaultScope._instance_dict.keys() == before.keys()


def test_inferencer_of_mmdet_is_left_alone():
    from mmdet import apis
    from mmengine.infer import BaseInferencer

    theirs = apis.DetInferencer
    assert theirs._load_model_from_metafile is BaseInferencer._load_model_from_metafile
    assert theirs._load_weights_to_model.__module__ == 'mmdet.apis.det_inferencer'


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
