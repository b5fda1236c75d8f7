"""The metafiles, the shipped configs, NOTICE and the README say the same."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis import MODEL_TABLE, model_config
from mmvmamba.apis.classifiers import build_classifier
from mmvmamba.apis.metafiles import read_collections, read_metafile
from mmvmamba.apis.task_models import TASK_WEIGHTS, build_from_config, task_configs
from mmvmamba.checkpoint import FAMILIES

ROOT = Path(__file__).parents[2]
FOLDERS = ('cls', 'det', 'seg')
MODELS = {name: model for folder in FOLDERS for name, model in read_metafile(folder).items()}
TASK_MODELS = sorted(set(MODELS) - set(MODEL_TABLE))
# How the first lines of a config name the figures of its metafile.
FIGURES = {
    'Top 1 Accuracy': r'(?:Published top-1|Top-1 as measured by timm) (\d+\.\d+)',
    'box AP': r'Published box AP (\d+\.\d+)',
    'mask AP': r'Published box AP .*?mask AP (\d+\.\d+)',
    'mIoU': r'Published mIoU (\d+\.\d+)',
    'mIoU(ms+flip)': r'Published mIoU .*?(\d+\.\d+) multi-scale',
}


def test_model_index_has_every_entry_once():
    load = pytest.importorskip('modelindex.load_model_index').load
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert not index.check()
    names = [model.name for model in index.models]
    assert sorted(names) == sorted(MODELS)
    assert sum(len(read_metafile(folder)) for folder in FOLDERS) == len(MODELS) >= 59


@pytest.mark.parametrize('folder', FOLDERS)
def test_every_entry_names_its_config(folder):
    suffix = '_in1k' if folder == 'cls' else ''
    for name, model in read_metafile(folder).items():
        assert model['Config'] == f'configs/{folder}/{name}{suffix}.py'
        assert (ROOT / model['Config']).is_file()
        assert model['In Collection'] in read_collections()
    configs = {path.stem for path in (ROOT / 'configs' / folder).glob('*.py')}
    # The examples are there to be copied.
    assert configs - {'finetune_example'} == {f'{name}{suffix}' for name in read_metafile(folder)}


def test_official_weights_have_an_address():
    with_weights = {name for name, model in MODELS.items() if 'Weights' in model}
    assert with_weights == {row.name for row in MODEL_TABLE.values() if row.weights} | set(
        TASK_WEIGHTS
    )
    assert len(with_weights) >= 49
    for name in with_weights:
        assert MODELS[name]['Weights'].startswith('https://')


@pytest.mark.parametrize('name', MODELS)
def test_first_lines_of_the_config_state_the_published_figures(name):
    lines = (ROOT / MODELS[name]['Config']).read_text().splitlines()
    comment = ' '.join(line.removeprefix('#').strip() for line in lines if line.startswith('#'))
    stated = {metric: re.search(pattern, comment) for metric, pattern in FIGURES.items()}
    stated = {metric: float(match[1]) for metric, match in stated.items() if match}
    results = MODELS[name].get('Results', [])
    figures = {key: value for result in results for key, value in result['Metrics'].items()}
    assert stated == figures


def test_figures_that_configs_state_are_all_in_the_metafiles():
    configs = {name.stem.removesuffix('_in1k') for name in (ROOT / 'configs/cls').glob('*.py')}
    configs |= set(task_configs())
    for name in configs - set(MODELS) - {'finetune_example'}:
        text = task_configs()[name].read_text()
        assert not any(re.search(pattern, text) for pattern in FIGURES.values()), name


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize('name', MODEL_TABLE)
def test_config_file_builds_the_model_of_the_name(name):
    row = MODEL_TABLE[name]
    config, own = Config.fromfile(row.config), model_config(name)
    with torch.device('meta'):
        shipped, model = build_classifier(config), build_classifier(own)
    shapes = [
        {key: value.shape for key, value in built.state_dict().items()}
        for built in (shipped, model)
    ]
    assert shapes[0] == shapes[1]
    assert num_parameters(model) == row.params
    assert type(model).__name__ == 'ImageClassifier'
    pipelines = [cfg.test_dataloader.dataset.pipeline for cfg in (config, own)]
    assert [dict(step) for step in pipelines[0]] == [dict(step) for step in pipelines[1]]
    # The number of the authors is kept where it is another.
    published = MODELS[name]['Metadata'].get('Published Parameters')
    if published is not None:
        digits = len(published.removesuffix('M').partition('.')[2])
        assert round(row.params / 1e6, digits) != float(published.removesuffix('M'))


@pytest.mark.slow
@pytest.mark.parametrize('name', TASK_MODELS)
def test_parameters_of_detectors_and_segmentors_are_counted(name):
    with torch.device('meta'):
        model = build_from_config(Config.fromfile(ROOT / MODELS[name]['Config']))
    assert num_parameters(model) == MODELS[name]['Metadata']['Parameters']


def test_a_collection_is_a_family_with_its_licences():
    pairs = {(MODELS[row.name]['In Collection'], row.family) for row in MODEL_TABLE.values()}
    assert [name for name, _ in sorted(pairs)] == sorted(read_collections())
    assert len({family for _, family in pairs}) == len(pairs)
    assert {family for _, family in pairs} <= set(FAMILIES)
    assert MODEL_TABLE['mambavision_t'].license == 'CC-BY-NC-SA-4.0'
    assert MODEL_TABLE['vim_tiny'].license == 'Apache-2.0'
    notice = (ROOT / 'NOTICE').read_text()
    for name, collection in read_collections().items():
        (line,) = (line for line in notice.splitlines() if re.match(rf'{name} +arXiv', line))
        paper = collection['Paper']['URL'].rpartition('/')[2]
        code, weights = collection['License']['Code'], collection['License']['Weights']
        assert re.search(rf'arXiv {paper} +{code} +{weights}', line), name
