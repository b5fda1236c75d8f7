"""Models are known again by the keys and shapes of their weights."""

import pytest
import torch

from mmvmamba.apis import MODEL_TABLE, identify_model, model_config
from mmvmamba.apis.classifiers import build_classifier
from mmvmamba.checkpoint import Converted


def weights_of(name, num_classes=1000):
    with torch.device('meta'):
        model = build_classifier(model_config(name, num_classes))
    return Converted(model.state_dict(), MODEL_TABLE[name].family, 'openmmlab', source='a file')


@pytest.mark.parametrize(
    ('name', 'num_classes', 'found'),
    [
        ('vim_tiny_plus', 1000, 'vim_tiny_plus'),
        ('mambaout_base_plus_rw', 7, 'mambaout_base_plus_rw'),
        # Those of equal weights are told by their place in the table alone.
        ('mambavision_b_21k', 1000, 'mambavision_b'),
        ('vim_tiny_legacy', 21841, 'vim_tiny_legacy'),
    ],
)
def test_a_classifier_is_known_by_its_weights(name, num_classes, found):
    assert identify_model(weights_of(name, num_classes)) == found


def test_a_classifier_of_another_shape_is_not_known():
    weights = weights_of('mambaout_test')
    del weights.state_dict['backbone.stages.0.0.norm.weight']
    assert identify_model(weights) is None
