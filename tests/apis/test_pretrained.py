"""Folders of Hugging Face: what is written can be read, and so can those of the authors."""

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import mmvmamba
from mmvmamba.apis import MODEL_TABLE, Preprocessing, model_config
from mmvmamba.apis.descriptions import ModelDescription, describe_entries
from mmvmamba.apis.hub_folders import build_described
from mmvmamba.apis.model_card import card_metadata, card_text
from mmvmamba.apis.pretrained import describe
from mmvmamba.apis.provenance import has_official_weights, mark_official
from mmvmamba.apis.task_models import task_configs
from mmvmamba.checkpoint import CheckpointError
from tests.checkpoint.test_sources import hub  # noqa: F401  a fixture
from tests.official_files import golden, state_of, write_hub_folder, write_official

pytest.importorskip('huggingface_hub')
pytest.importorskip('safetensors')
IMAGES = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)


def from_pretrained(*args, **kwargs):
    return mmvmamba.PretrainedModel.from_pretrained(*args, **kwargs)


def official_config(case, **changes):
    """What ``config.json`` says in the folders of MambaVision's authors."""
    names = ('dim', 'in_dim', 'depths', 'num_heads', 'window_size', 'mlp_ratio', 'drop_path_rate')
    kwargs = case.spec['kwargs']
    labels = [f'class {i}' for i in range(kwargs['num_classes'])]
    remote = {'AutoConfig': 'configuration_x.X', 'AutoModelForImageClassification': 'modeling_x.X'}
    return dict(
        architectures=['MambaVisionModelForImageClassification'],
        auto_map=remote,
        model_type='mambavision',
        **{name: kwargs[name] for name in names},
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225],
        crop_pct=1.0,
        crop_mode='center',
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **changes,
    )


@pytest.fixture(scope='module')
def classifier():
    return mmvmamba.get_model('mambaout_test', num_classes=7)


@pytest.fixture
def folder(classifier, tmp_path):
    classifier.save_pretrained(tmp_path / 'saved')
    return tmp_path / 'saved'


@torch.no_grad()
def test_saved_classifier_is_read_again(classifier, folder):
    assert {path.name for path in folder.iterdir()} == {
        'README.md', 'config.json', 'model.safetensors', 'preprocessor_config.json'
    }  # fmt: skip
    for model in (from_pretrained(folder), type(classifier).from_pretrained(folder)):
        assert torch.equal(model(IMAGES), classifier(IMAGES))
        assert model.preprocessing == classifier.preprocessing
        assert not model.training


@pytest.mark.parametrize('name', ['l1_maskrcnn_1x', 'l1_upernet'])
def test_saved_detector_and_segmentor_are_described(name, tmp_path):
    """On no device: what is compared is the model that is built of the folder."""
    with torch.device('meta'):
        model = mmvmamba.get_model(name, device='meta')
        entries = json.loads(json.dumps(describe(model).entries()))
        again = build_described(describe_entries(entries, 'config.json'))
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    assert again.dataset_meta['classes'][0] in ('person', 'wall')
    assert again.cfg.test_dataloader.dataset.pipeline[0]['type'] == 'LoadImageFromFile'


def test_models_are_copied_and_pickled_with_their_methods(classifier, folder):
    for model in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        model.save_pretrained(folder)
        assert type(model) is type(classifier)
        assert torch.equal(model(IMAGES), classifier(IMAGES))


@torch.no_grad()
def test_new_number_of_classes_starts_the_head_anew(classifier, folder):
    model = from_pretrained(folder, num_classes=3, drop_path_rate=0.5)
    assert model(IMAGES).shape == (1, 3)
    assert torch.equal(model.extract_feat(IMAGES)[0], classifier.extract_feat(IMAGES)[0])


@torch.no_grad()
def test_official_folder_with_its_config_is_read(tmp_path, hub):  # noqa: F811
    case = golden('mambavision', 'small_a_64x64')
    write_hub_folder(tmp_path / 'local', state_of(case), config=official_config(case))
    write_hub_folder(hub('nvidia/Some-Model'), state_of(case), config=official_config(case))
    for source in (tmp_path / 'local', 'nvidia/Some-Model', 'hf://nvidia/Some-Model'):
        model = from_pretrained(source)
        case.check('logits', model(case.input().float()))
        assert model.preprocessing == Preprocessing(80, 1.0, 'center')
        assert model._dataset_meta['classes'][3] == 'class 3'
        assert not has_official_weights(model)


@torch.no_grad()
def test_folder_of_timm_is_read(tmp_path):
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    theirs = timm.create_model('test_mambaout', num_classes=11).eval()
    cfg = dict(theirs.pretrained_cfg, input_size=(3, 96, 96), crop_pct=0.9)
    keys = ('input_size', 'crop_pct', 'mean', 'std', 'interpolation', 'crop_mode', 'num_classes')
    entries = dict(
        architecture='test_mambaout', num_classes=11, pretrained_cfg={k: cfg.get(k) for k in keys}
    )
    write_hub_folder(tmp_path, theirs.state_dict(), prefix='', config=entries)
    model = from_pretrained(tmp_path)
    torch.testing.assert_close(model(IMAGES), theirs(IMAGES), rtol=1e-4, atol=1e-5)
    assert model.preprocessing == Preprocessing(96, 0.9, 'center')


def test_published_files_are_known_by_their_names(hub, monkeypatch):  # noqa: F811
    """The repositories of Vim and PlainMamba have files and no config.json."""
    asked = []
    monkeypatch.setattr(
        'mmvmamba.apis.hub_folders.build_named_model',
        lambda name, path, *_: asked.append((name, path.name)) or torch.nn.Linear(1, 1),
    )
    folders = {}
    for repo, file in (
        ('hustvl/Vim-base-midclstok', 'vim_b_midclstok_81p9acc.pth'),
        ('hustvl/Vim-tiny-midclstok', 'vim_t_midclstok_ft_78p3acc.pth'),
        ('ChenhongyiYang/PlainMamba', 'detection/retinanet/l1_1x.pth'),
        ('ChenhongyiYang/PlainMamba', 'l2.pth'),
    ):
        folders[repo] = folders.get(repo) or hub(repo)
        path = folders[repo] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        from_pretrained(path)
        from_pretrained(repo, filename=file)
        from_pretrained(f'hf://{repo}/{file}')
    names = ('vim_base', 'vim_tiny_plus', 'l1_retinanet_1x', 'plain_mamba_l2')
    assert [name for name, _ in asked] == [name for name in names for _ in range(3)]
    from_pretrained('hustvl/Vim-base-midclstok')
    assert asked[-1] == ('vim_base', 'vim_b_midclstok_81p9acc.pth')
    with pytest.raises(CheckpointError, match=r'filename=, of .*acc.pth \(vim_tiny\), .*plus'):
        from_pretrained('hustvl/Vim-tiny-midclstok')


@torch.no_grad()
def test_folder_with_one_unknown_file_is_recognised_by_its_keys(tmp_path):
    case = golden('mambaout', 'timm_test_mambaout_64x64')
    write_official(tmp_path / 'mine', 'mambaout', state_of(case))
    assert from_pretrained(tmp_path).model_name == 'mambaout_test'
    write_official(tmp_path / 'other', 'mambaout', state_of(case))
    with pytest.raises(CheckpointError, match=r'filename=, of mine\.pth, other\.pth'):
        from_pretrained(tmp_path)
    assert from_pretrained(tmp_path, filename='mine.pth').model_name == 'mambaout_test'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(model_type='bert'), "model_type is 'bert', known are"),
        (dict(task='poetry'), "task must be one of .* got 'poetry'"),
        (dict(model=None), 'does not describe a model'),
        (dict(crop_mode='border'), "crop_mode must be 'center' or 'squash', got 'border'"),
        (dict(mean=[0.5, 0.5, 0.5]), 'images are prepared with mean'),
        (dict(id2label={'0': 'cat'}), r'names 1 classes and the weights beside it have 7'),
    ],
)
def test_config_that_describes_no_model_is_refused(change, message, folder):
    entries = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**entries, **change}))
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(folder)


@pytest.mark.parametrize('text', ['', '{', '[]', '[' * 100000, '{"model_type": "mmvmamba"}'])
def test_damaged_config_is_refused(text, folder):
    (folder / 'config.json').write_text(text)
    with pytest.raises(CheckpointError, match=r'config\.json (is damaged|does not describe)'):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ('part', 'name'),
    [
        ('neck', 'os.system'),
        ('neck', 'mmengine.fileio.dump'),
        ('neck', 'mmengine.Config.fromfile'),
        ('neck', 'mmpretrain.RAM'),
        ('neck', 'subprocess.run'),
        ('neck', 'mmdet.CameraMotionCompensation'),
        ('test_cfg', "__import__('os').system('true')"),
        ('neck', 7),
    ],
)
def test_config_of_a_stranger_runs_nothing(part, name, folder):
    entries = json.loads((folder / 'config.json').read_text())
    entries['model'][part] = dict(type=name)
    (folder / 'config.json').write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match='which is no part of a network or pipeline'):
        from_pretrained(folder)


def test_backbone_of_another_project_is_refused(folder):
    entries = json.loads((folder / 'config.json').read_text())
    entries['model']['backbone'] = dict(type='ResNet', depth=18)
    (folder / 'config.json').write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match="must be one of mmvmamba, got 'ResNet'"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ('part', 'change', 'message'),
    [
        ('backbone', dict(arch='femtoo'), "config.json does not .* got 'femtoo'; did you mean"),
        ('backbone', dict(foo=1), "config.json does not describe a model: .*argument 'foo'"),
        ('head', dict(type='LinearClsHead', foo=1), "config.json does not .* argument 'foo'"),
    ],
)
def test_part_that_cannot_be_built_is_named_with_its_file(part, change, message, folder):
    entries = json.loads((folder / 'config.json').read_text())
    entries['model'][part] |= change
    (folder / 'config.json').write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(folder)
    del entries['model']['head']
    (folder / 'config.json').write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match="it has no 'head'"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ('source', 'kwargs', 'message'),
    [
        ('', {}, "name a folder, a file or a repository, got ''"),
        (None, {}, 'name a folder, a file or a repository, got None'),
        ('./flowers', {}, r'there is no folder \./flowers, and it names no repository'),
        ('owner/absent', {}, 'no folder owner/absent, and hf://owner/absent is neither in the'),
        ('vim_tiny', {}, r"this name is mmvmamba\.get_model\('vim_tiny', pretrained=\.\.\.\)"),
        ('', dict(num_classes='3'), "num_classes must be a positive integer or None, got '3'"),
        ('', dict(num_classes=0), 'num_classes must be a positive integer or None, got 0'),
    ],
)
def test_bad_source_or_argument_is_named(source, kwargs, message, hub):  # noqa: F811
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        from_pretrained(source, **kwargs)


def test_argument_that_the_backbone_does_not_take_is_named(folder):
    with pytest.raises(ValueError, match=r"MambaOut takes the arguments .* got \['drop_path'\]"):
        from_pretrained(folder, drop_path=0.1)


def test_what_is_not_there_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match='names no repository of the Hugging Face hub'):
        from_pretrained(tmp_path / 'absent')
    with pytest.raises(CheckpointError, match=r'has no config\.json and no file of weights'):
        from_pretrained(tmp_path)


def test_card_says_what_was_published_and_by_whom(tmp_path):
    case = golden('mambaout', 'timm_test_mambaout_64x64')
    path = write_official(tmp_path / 'weights', 'mambaout', state_of(case))
    model = mmvmamba.get_model('mambaout_test', pretrained=path)
    assert not has_official_weights(model)
    mark_official(model, True)
    card = model.generate_model_card(repo_id='me/mine')
    assert card.data.license == 'apache-2.0'
    assert card.data.pipeline_tag == 'image-classification'
    assert "These are the authors' weights" in card.text
    assert "PretrainedModel.from_pretrained('me/mine')" in card.text
    compile(card.text.split('```python')[1].split('```')[0], 'card', 'exec')
    unlicensed = model.generate_model_card(license='mit')
    assert unlicensed.data.license == 'mit'


@pytest.mark.parametrize('name', ['mambavision_t', 'mambaout_femto'])
def test_card_of_other_weights_claims_nothing(name):
    config = model_config(name).to_dict()
    description = ModelDescription('classification', config['model'], name)
    text = card_text(description, 1, is_official=False)
    assert "These are not the authors' weights" in text
    assert "**published by the authors** for the authors' weights, not for these" in text
    assert f'| Top 1 Accuracy | {MODEL_TABLE[name].top1} |' in text
    expected = 'cc-by-nc-sa-4.0' if name == 'mambavision_t' else 'apache-2.0'
    assert card_metadata(description)['license'] == expected


def test_card_calls_weights_official_until_they_change(tmp_path, monkeypatch):
    case = golden('mambaout', 'timm_test_mambaout_64x64')
    path = write_official(tmp_path / 'weights', 'mambaout', state_of(case))
    monkeypatch.setattr('mmvmamba.apis.classifiers.weights_of', lambda _: path)
    model = mmvmamba.get_model('mambaout_test', pretrained=True)
    model.to(torch.device('cpu')).train().eval()
    assert "These are the authors' weights" in model.generate_model_card().text
    new_head = mmvmamba.get_model('mambaout_test', pretrained=True, num_classes=4)
    assert "These are not the authors' weights" in new_head.generate_model_card().text
    with torch.no_grad():
        next(model.parameters()).mul_(1.001)
    assert "These are not the authors' weights" in model.generate_model_card().text


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['mambaout_test', 'mambaout_femto_maskrcnn_1x', 'mambaout_femto_segformer_160k']
)
def test_example_of_the_card_runs_in_a_process_of_its_own(name, tmp_path):
    folder = tmp_path / 'saved'
    mmvmamba.get_model(name).save_pretrained(folder)
    Image.new('RGB', (96, 64), 'green').save(tmp_path / 'image.jpg')
    code = (folder / 'README.md').read_text().split('```python')[1].split('```')[0]
    code = code.replace('owner/name', str(folder))
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert any(word in result.stdout for word in ('score', 'PixelData')), result.stdout


def test_inference_of_the_toolboxes_takes_models_of_any_task(tmp_path):
    """In no scope, and after a model of another task."""
    from mmdet.utils import get_test_pipeline_cfg
    from mmengine.dataset import Compose

    Image.new('RGB', (96, 64), 'green').save(tmp_path / 'image.jpg')
    for name, toolbox in (('l1_maskrcnn_1x', 'Det'), ('l1_upernet', 'Seg')):
        with torch.device('meta'):
            model = mmvmamba.get_model(name, device='meta')
            entries = json.loads(json.dumps(describe(model).entries()))
            again = build_described(describe_entries(entries, 'config.json'))
        for cfg in (model.cfg, again.cfg):
            steps = get_test_pipeline_cfg(cfg) if toolbox == 'Det' else cfg.test_pipeline
            sample = Compose(steps)(dict(img_path=tmp_path / 'image.jpg', img_id=0))
            assert type(sample['data_samples']).__name__ == f'{toolbox}DataSample'
    # As mmseg does, given an array.
    steps[0]['type'] = 'LoadImageFromNDArray'
    assert Compose(steps)(dict(img=np.zeros((64, 96, 3), np.uint8)))['inputs'].ndim == 3


def test_every_family_has_a_card():
    firsts = {row.family: row.name for row in reversed(MODEL_TABLE.values())}
    for name in firsts.values():
        description = ModelDescription('classification', model_config(name).to_dict()['model'])
        assert card_metadata(description)['library_name'] == 'mmvmamba'
        assert 'own settings' in card_text(description, 1, is_official=False)
    for name, task in (('l1_maskrcnn_1x', 'detection'), ('l1_upernet', 'segmentation')):
        model = Config.fromfile(task_configs()[name]).model.to_dict()
        description = ModelDescription(task, model, name)
        assert 'published by the authors' in card_text(description, 1, is_official=True)


def test_failed_write_leaves_nothing_half_written(classifier, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('safetensors.torch.save_file', fail)
    with pytest.raises(CheckpointError, match='No space left on device'):
        classifier.save_pretrained(tmp_path / 'full')
    assert not list((tmp_path / 'full').iterdir())
