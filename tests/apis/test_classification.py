"""Images of all kinds through ``classify``, prepared as each model wants them."""

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image
from torch import nn

from mmvmamba import classify, get_model
from mmvmamba.apis import MODEL_TABLE, Preprocessing
from mmvmamba.apis.preprocess import open_image


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return get_model('mambaout_test')


@pytest.fixture(scope='module')
def picture():
    """A smooth colourful picture, on which resizing rules differ little but visibly."""
    y, x = np.mgrid[0:150, 0:220] / 25
    channels = [np.sin(x + k) * np.cos(y * (k + 1) / 2) for k in range(3)]
    return Image.fromarray((np.stack(channels, -1) * 127 + 128).astype(np.uint8))


def test_guesses_are_sorted_and_named(model, picture):
    guesses = classify(model, picture, topk=3)
    assert len(guesses) == 3
    assert guesses[0].score >= guesses[1].score >= guesses[2].score > 0
    assert all(isinstance(guess.name, str) and 0 <= guess.label < 1000 for guess in guesses)
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    assert guesses[0].name == IMAGENET_CATEGORIES[guesses[0].label]


def test_file_array_and_list_give_the_same(model, picture, tmp_path):
    picture.save(tmp_path / 'picture.png')
    expected = classify(model, picture)
    assert classify(model, tmp_path / 'picture.png') == expected
    assert classify(model, str(tmp_path / 'picture.png')) == expected
    assert classify(model, np.asarray(picture)) == expected
    for guesses in classify(model, [picture, picture]):
        assert [guess.label for guess in guesses] == [guess.label for guess in expected]


def test_model_without_names_gives_indices(picture):
    guesses = classify(get_model('mambaout_test', num_classes=3), picture)
    assert sorted(guess.name for guess in guesses) == ['0', '1', '2']


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'LA', 'RGBA', 'CMYK'])
def test_other_modes_become_rgb(mode, model, picture, tmp_path):
    image = picture.convert(mode)
    path = tmp_path / ('image.tif' if mode == 'CMYK' else 'image.png')
    image.save(path)
    opened = open_image(path)
    assert opened.mode == 'RGB'
    assert np.array_equal(np.asarray(opened), np.asarray(image.convert('RGB')))
    assert len(classify(model, path)) == 5


def test_transparency_is_left_out(picture):
    opaque = picture.copy()
    picture = picture.convert('RGBA')
    picture.putalpha(10)
    assert np.array_equal(np.asarray(open_image(picture)), np.asarray(opaque))


@pytest.mark.parametrize('shape', [(20, 30), (20, 30, 1)])
def test_grey_array_is_repeated(shape):
    array = np.arange(600, dtype=np.uint16).reshape(shape).astype(np.uint8)
    opened = np.asarray(open_image(array))
    assert all(np.array_equal(opened[..., i], array.reshape(20, 30)) for i in range(3))


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((8, 8, 2), np.uint8), r'\(H, W, 4\), got uint8 of shape \(8, 8, 2\)'),
        (np.zeros((3, 8, 8), np.uint8), r'got uint8 of shape \(3, 8, 8\)'),
        (np.zeros((8, 8, 3), np.float32), 'got float32'),
        (torch.zeros(3, 8, 8), r'got a tensor.*model\(batch\)'),
        (Image.new('I;16', (8, 8)), "mode 'I;16'"),
        (Image.new('F', (8, 8)), "mode 'F'"),
        (3, 'got int'),
    ],
)
def test_images_of_unknown_meaning_are_refused(image, message, model):
    with pytest.raises(ValueError, match=message):
        classify(model, image)


def test_files_that_are_no_images_are_named(model, tmp_path, picture):
    with pytest.raises(FileNotFoundError, match=r'nothing\.jpg'):
        classify(model, tmp_path / 'nothing.jpg')
    (tmp_path / 'text.jpg').write_text('not an image')
    with pytest.raises(ValueError, match=r'text\.jpg cannot be read'):
        classify(model, tmp_path / 'text.jpg')
    picture.save(tmp_path / 'cut.png')
    data = (tmp_path / 'cut.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r'cut\.png cannot be read'):
        classify(model, tmp_path / 'cut.png')


def test_model_of_unknown_preparation_is_refused(picture):
    with pytest.raises(ValueError, match=r'model\.preprocessing'):
        classify(nn.Identity(), picture)


def test_topk_and_training_mode(model, picture):
    with pytest.raises(ValueError, match='topk must be 1 or more, got 0'):
        classify(model, picture, topk=0)
    trained = get_model('mambaout_test', num_classes=3).train()
    assert len(classify(trained, picture, topk=10)) == 3
    assert trained.training


@pytest.mark.parametrize(
    ('name', 'resized', 'size'),
    [
        ('plain_mamba_l1', 256, 224),
        ('vim_tiny', 256, 224),
        ('mambavision_t', 224, 224),
        ('mambavision_t2', 228, 224),
        ('mambavision_s', 240, 224),
        ('mambavision_l2_512_21k', 550, 512),
        ('mambavision_l3_256_21k', 256, 256),
        ('mambaout_femto', 224, 224),
        ('mambaout_base_plus_rw_384', 384, 384),
    ],
)
def test_sizes_are_the_published_ones(name, resized, size):
    preprocessing = MODEL_TABLE[name].preprocessing
    assert (preprocessing.resize_size, preprocessing.img_size) == (resized, size)


@pytest.mark.parametrize('mode', ['center', 'squash'])
@pytest.mark.parametrize('turned', [False, True])
def test_config_pipeline_prepares_the_same_image(mode, turned, picture, tmp_path):
    pytest.importorskip('mmpretrain')
    picture = picture.transpose(Image.Transpose.ROTATE_90) if turned else picture
    picture.save(tmp_path / 'picture.png')
    preprocessing = Preprocessing(64, 0.9, mode)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        result = dict(img_path=str(tmp_path / 'picture.png'))
        for step in preprocessing.pipeline():
            result = TRANSFORMS.build(step)(result)
    rgb = result['inputs'].flip(0).float()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (rgb / 255 - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(preprocessing(picture), expected, atol=1e-5)
    shape = preprocessing(picture).shape
    assert shape == (3, 64, 64)


def test_unknown_crop_mode_is_refused():
    with pytest.raises(ValueError, match="'center' or 'squash', got 'border'"):
        Preprocessing(crop_mode='border')
