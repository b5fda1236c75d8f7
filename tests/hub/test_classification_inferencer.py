"""mmpretrain's inferencer and hub with our names, configs and weights."""

from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

import mmvmamba
from mmvmamba.apis.classifiers import build_classifier
from mmvmamba.checkpoint import CheckpointError
from tests.official_files import golden, state_of, write_official

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/toy/cls_mambaout.py'
IMAGE = np.random.default_rng(0).integers(0, 255, (200, 180, 3), np.uint8)


@pytest.fixture(scope='module')
def official(tmp_path_factory):
    """An official file whose classifier answers the first class."""
    state = state_of(golden('mambaout', 'timm_test_mambaout_64x64'))
    state['head.fc.weight'] = torch.zeros(1000, 256)
    state['head.fc.bias'] = torch.arange(1000.0).flip(0)
    path = tmp_path_factory.mktemp('official') / 'official'
    return str(write_official(path, 'mambaout', state))


def test_name_and_official_file_predict(official):
    inferencer = mmvmamba.ImageClassificationInferencer('mambaout_test', official)
    (result,) = inferencer(IMAGE)
    assert result['pred_class'].startswith('tench')


def test_config_and_own_file_predict(tmp_path):
    torch.manual_seed(0)
    expected = build_classifier(Config.fromfile(CONFIG)).state_dict()
    meta = dict(dataset_meta=dict(classes=['a', 'b', 'c', 'd']))
    torch.save(dict(state_dict=expected, meta=meta), tmp_path / 'own.pth')
    inferencer = mmvmamba.ImageClassificationInferencer(str(CONFIG), str(tmp_path / 'own.pth'))
    for name, value in inferencer.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert inferencer(IMAGE)[0]['pred_class'] in 'abcd'


def test_weights_that_do_not_fit_a_config_are_refused(official):
    with pytest.raises(CheckpointError, match='does not fit'):
        mmvmamba.ImageClassificationInferencer(str(CONFIG), official)


def test_models_of_mmpretrain_are_still_taken():
    inferencer = mmvmamba.ImageClassificationInferencer('resnet18_8xb32_in1k', pretrained=False)
    assert type(inferencer.model.backbone).__name__ == 'ResNet'


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"mean 'mambaout_tiny'.*mmpretrain has none of that name"):
        mmvmamba.ImageClassificationInferencer('mambaout_tinny')


def test_models_are_registered_in_mmpretrain_on_request():
    mmvmamba.register_models()
    mmvmamba.register_models()
    assert 'mambaout_femto' in mmpretrain.list_models('mambaout')
    assert 'vim_tiny' in mmpretrain.list_models(task='Image Classification')
    model = mmpretrain.get_model('mambaout_femto', backbone=dict(drop_path_rate=0.5))
    assert type(model.backbone).__name__ == 'MambaOut'


def test_inferencers_of_three_toolboxes_work_one_after_another(official):
    """mmdet's and mmseg's leave their scope behind, in which mmpretrain finds no transform."""
    image = IMAGE[:64, :64]
    with DefaultScope.overwrite_default_scope('mmdet'):
        classifier = mmvmamba.ImageClassificationInferencer('mambaout_test', official)
        detector = mmvmamba.DetInferencer(
            str(ROOT / 'configs/toy/det_mambaout_retinanet.py'), device='cpu', show_progress=False
        )
        segmentor = mmvmamba.MMSegInferencer(
            str(ROOT / 'configs/toy/seg_mambaout.py'), device='cpu'
        )
        for _ in range(2):
            assert classifier(image)[0]['pred_class'].startswith('tench')
            assert detector(image)['predictions'][0].keys() == {'labels', 'scores', 'bboxes'}
            assert segmentor(image)['predictions'].shape == image.shape[:2]
        assert DefaultScope.get_current_instance().scope_name == 'mmdet'


def test_inferencer_lists_our_names_beside_those_of_mmpretrain():
    found = mmvmamba.ImageClassificationInferencer.list_models('*tiny*')
    assert 'vim_tiny' in found
    assert any(name.startswith('swin') for name in found)
    assert found == sorted(set(found))
    assert mmvmamba.ImageClassificationInferencer.list_models('nothing*') == []
