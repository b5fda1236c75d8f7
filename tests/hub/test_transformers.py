"""Our models behind transformers' Auto classes, as their authors document them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import mmvmamba
from mmvmamba.apis import MODEL_TABLE
from mmvmamba.apis.pretrained import describe
from mmvmamba.checkpoint import CheckpointError
from tests.apis.test_pretrained import official_config
from tests.official_files import golden, state_of, write_hub_folder

transformers = pytest.importorskip(
    'transformers',
    minversion='5.5',
    reason='tests/compat/test_multimodal.py installs it for these tests, in the slow set',
)
pytestmark = pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 180, 3), np.uint8))
IMAGES = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)


@pytest.fixture(scope='module')
def classifier():
    return mmvmamba.get_model('mambaout_test', num_classes=7)


@pytest.fixture(scope='module')
def ours(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp('ours')
    classifier.save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def case():
    return golden('mambavision', 'small_a_64x64')


@pytest.fixture(scope='module')
def official(case, tmp_path_factory):
    folder = tmp_path_factory.mktemp('official')
    return write_hub_folder(folder, state_of(case), config=official_config(case))


def load(auto, folder, **kwargs):
    return getattr(transformers, auto).from_pretrained(folder, **kwargs)


@torch.no_grad()
@pytest.mark.parametrize('trust', [None, False, True])
def test_documented_classification_works_without_remote_code(trust, case, official):
    timm = pytest.importorskip('timm.data')
    model = load('AutoModelForImageClassification', official, trust_remote_code=trust)
    outputs = model(case.input().float())
    case.check('logits', outputs['logits'])
    assert model.config.id2label[outputs['logits'].argmax(-1)[0].item()].startswith('class ')
    transform = timm.create_transform(
        input_size=(3, 96, 96),
        is_training=False,
        mean=model.config.mean,
        std=model.config.std,
        crop_mode=model.config.crop_mode,
        crop_pct=model.config.crop_pct,
    )
    assert model(transform(IMAGE)[None])['logits'].shape == (1, 10)
    assert type(model).__module__ == 'mmvmamba.hub.transformers_models'


@torch.no_grad()
def test_documented_features_are_pooled_and_of_four_stages(case, official):
    out_avg_pool, features = load('AutoModel', official)(case.input().float())
    case.check('pooled', out_avg_pool)
    for i in range(4):
        case.check(f'feature{i}', features[i])


@torch.no_grad()
def test_saved_by_transformers_is_read_by_both(case, official, tmp_path):
    load('AutoModelForImageClassification', official).save_pretrained(tmp_path)
    again = load('AutoModelForImageClassification', tmp_path)
    case.check('logits', again(case.input().float()).logits)
    model = mmvmamba.PretrainedModel.from_pretrained(tmp_path)
    case.check('logits', model(case.input().float()))


@torch.no_grad()
def test_folder_of_ours_gives_our_outputs(classifier, ours):
    model = load('AutoModelForImageClassification', ours)
    outputs = model(pixel_values=IMAGES, labels=torch.tensor([2]))
    torch.testing.assert_close(outputs.logits, classifier(IMAGES))
    expected = torch.nn.functional.cross_entropy(outputs.logits, torch.tensor([2]))
    assert torch.equal(outputs.loss, expected)
    assert model.config.num_labels == 7
    assert load('AutoModelForImageClassification', ours, dtype=torch.bfloat16).dtype == (
        torch.bfloat16
    )


@torch.no_grad()
def test_backbone_gives_the_maps_that_are_asked_for(classifier, ours, monkeypatch):
    # transformers asks whether there is such a repository, even of a folder.
    monkeypatch.setattr('huggingface_hub.HfApi.repo_exists', lambda *_, **__: True)
    auto = 'transformers.models.auto.auto_factory.repo_exists'
    monkeypatch.setattr(auto, lambda *_, **__: True, raising=False)
    backbone = load('AutoBackbone', ours, out_indices=(1, 3))
    maps = backbone(IMAGES).feature_maps
    _, expected = classifier.backbone.feature_maps(IMAGES, (1, 3))
    for got, want in zip(maps, expected, strict=True):
        assert torch.equal(got, want)
    assert backbone.channels == [got.shape[1] for got in maps] == [32, 64]
    assert backbone.out_features == ['stage2', 'stage4']


@torch.no_grad()
def test_backbone_of_a_folder_takes_what_it_is_asked_for(ours, official):
    """Without the question to the hub that ``AutoBackbone`` asks."""
    from mmvmamba.hub.transformers_models import VisionMambaBackbone

    for folder in (ours, official):
        backbone = VisionMambaBackbone.from_pretrained(folder, out_indices=(1, 2))
        assert backbone.out_features == ['stage2', 'stage3']
        assert [m.shape[1] for m in backbone(IMAGES).feature_maps] == backbone.channels
        backbone = VisionMambaBackbone.from_pretrained(folder, out_features=['stage4'])
        assert len(backbone(IMAGES).feature_maps) == 1
        with pytest.raises(ValueError, match='out_indices'):
            VisionMambaBackbone.from_pretrained(folder, out_indices=(1, 7))


def test_detector_is_no_model_of_transformers(tmp_path):
    with torch.device('meta'):
        detector = mmvmamba.get_model('l1_maskrcnn_1x', device='meta')
    (tmp_path / 'config.json').write_text(json.dumps(describe(detector).entries()))
    for auto in ('AutoConfig', 'AutoModelForImageClassification'):
        with pytest.raises(CheckpointError, match='has a detection model: read it with mmvmamba'):
            load(auto, tmp_path)


@torch.no_grad()
def test_fine_tuning_starts_the_head_anew(classifier, ours):
    model = load(
        'AutoModelForImageClassification', ours, num_labels=3, ignore_mismatched_sizes=True
    )
    assert model(IMAGES).logits.shape == (1, 3)
    assert 0.01 < model.model.head.fc.weight.std() < 0.03
    own = classifier.backbone.state_dict()
    for key, value in model.model.backbone.state_dict().items():
        assert torch.equal(value, own[key]), key
    with pytest.raises(CheckpointError, match=r'does not fit .* give ignore_mismatched_sizes'):
        load('AutoModelForImageClassification', ours, num_labels=3)


@torch.no_grad()
@pytest.mark.parametrize(
    'labels',
    [dict(num_labels=2), dict(id2label={0: 'cat', 1: 'dog'}, label2id={'cat': 0, 'dog': 1})],
    ids=['two', 'named'],
)
def test_fine_tuned_model_is_read_again_with_its_classes(labels, ours, official, tmp_path):
    for number, source in enumerate((ours, official)):
        auto, folder = 'AutoModelForImageClassification', tmp_path / str(number)
        model = load(auto, source, ignore_mismatched_sizes=True, **labels)
        model.save_pretrained(folder)
        again = load(auto, folder)
        assert again.config.id2label == labels.get('id2label', {0: 'LABEL_0', 1: 'LABEL_1'})
        torch.testing.assert_close(again(IMAGES).logits, model(IMAGES).logits)
        plain = mmvmamba.PretrainedModel.from_pretrained(folder)
        assert plain._dataset_meta['classes'] == list(again.config.id2label.values())


def test_new_model_of_a_config_is_initialised(ours):
    config = transformers.AutoConfig.from_pretrained(ours)
    model = transformers.AutoModelForImageClassification.from_config(config)
    assert 0.01 < model.model.head.fc.weight.std() < 0.03
    assert torch.isfinite(model(IMAGES).logits).all()


def test_image_processor_gives_our_pixels(classifier, ours, official):
    processor = load('AutoImageProcessor', ours)
    pixels = processor([IMAGE, IMAGE], return_tensors='pt')['pixel_values']
    assert torch.equal(pixels[1], classifier.preprocessing(IMAGE))
    # transformers wants a file of its own for this, which the authors' folders do not have.
    processor = type(processor).from_pretrained(official)
    assert processor(IMAGE)['pixel_values'].shape == (1, 3, 80, 80)
    with pytest.raises(ValueError, match="return_tensors must be 'pt' or None, got 'np'"):
        processor(IMAGE, return_tensors='np')


@pytest.mark.parametrize('name', sorted({str(r.preprocessing): r for r in MODEL_TABLE.values()}))
def test_transform_of_timm_gives_our_pixels(name, ours):
    timm = pytest.importorskip('timm.data')
    row = {str(row.preprocessing): row for row in MODEL_TABLE.values()}[name]
    config = transformers.AutoConfig.from_pretrained(ours)
    for entry in ('image_size', 'crop_pct', 'crop_mode'):
        attribute = 'img_size' if entry == 'image_size' else entry
        setattr(config, entry, getattr(row.preprocessing, attribute))
    transform = timm.create_transform(**config.data_config)
    torch.testing.assert_close(transform(IMAGE), row.preprocessing(IMAGE), rtol=0, atol=1e-6)
