"""The model index, the table of models and the config files say the same."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis import MODEL_TABLE, model_config
from mmvmamba.apis.models import build_classifier
from mmvmamba.apis.task_models import TASK_WEIGHTS, task_configs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def index():
    load = pytest.importorskip('modelindex.load_model_index').load
    models = load(str(ROOT / 'model-index.yml'))
    models.build_models_with_collections()
    assert not models.check()
    return {model.name: model for model in models.models}


def test_every_model_with_published_figures_is_in_the_index(index):
    classifiers = {row.name for row in MODEL_TABLE.values() if row.top1 is not None}
    assert len(classifiers) >= 35
    assert set(index) == classifiers | set(TASK_WEIGHTS)


def test_index_agrees_with_the_tables(index):
    for name, model in index.items():
        assert (ROOT / model.config).is_file()
        if name in MODEL_TABLE:
            assert model.weights == MODEL_TABLE[name].weights
            assert model.results[0].metrics['Top 1 Accuracy'] == MODEL_TABLE[name].top1
        else:
            assert model.weights == TASK_WEIGHTS[name]
            assert ROOT / model.config == task_configs()[name]


@pytest.mark.parametrize('name', MODEL_TABLE)
def test_config_file_builds_the_model_of_the_name(name):
    config, own = Config.fromfile(ROOT / f'configs/cls/{name}_in1k.py'), model_config(name)
    # How a training starts is no business of the table.
    for key in ('init_cfg', 'position_resize'):
        config.model.backbone.pop(key, None)
    config.model.backbone.setdefault('drop_path_rate', 0.0)
    assert config.model.backbone.to_dict() == own.model.backbone.to_dict()
    with torch.device('meta'):
        states = [build_classifier(cfg).state_dict() for cfg in (config, own)]
    assert {key: value.shape for key, value in states[0].items()} == {
        key: value.shape for key, value in states[1].items()
    }
    pipelines = [cfg.test_dataloader.dataset.pipeline[1:-1] for cfg in (config, own)]
    assert [dict(step) for step in pipelines[0]] == [dict(step) for step in pipelines[1]]
    for key in ('mean', 'std'):
        assert config.data_preprocessor[key] == pytest.approx(own.data_preprocessor[key])
