"""Images as the classification configs prepare them, beside torchvision's transforms of PIL images.

The authors evaluated with the latter.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from PIL import Image
from torchvision import transforms

from mmvmamba.apis import MODEL_TABLE
from mmvmamba.apis.preprocess import open_image

pytest.importorskip('mmpretrain')
ROOT = Path(__file__).parents[2]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BICUBIC = transforms.InterpolationMode.BICUBIC

# Config: what torchvision's Resize and CenterCrop take, from the authors' evaluation.
SIZES = {
    'cls/plain_mamba_l1_in1k': (256, 224),
    'cls/vim_tiny_in1k': (256, 224),
    'cls/vim_small_plus_in1k': (256, 224),
    'cls/vit_tiny_causal_in1k': (256, 224),
    'cls/mambavision_t_in1k': (224, 224),
    'cls/mambavision_t2_in1k': (228, 224),
    'cls/mambavision_s_in1k': (240, 224),
    'cls/mambavision_l2_512_21k_in1k': ((550, 550), 512),
    'cls/mambavision_l3_256_21k_in1k': (256, 256),
    'cls/mambavision_l3_512_21k_in1k': ((550, 550), 512),
    'cls/mambaout_femto_in1k': (224, 224),
    'cls/mambaout_base_tall_rw_in1k': (235, 224),
    'cls/mambaout_base_plus_rw_384_in1k': ((384, 384), 384),
    'cls/finetune_example': (224, 224),
}


def picture(height, width):
    """Waves and noise, so that resizing and decoding rules differ visibly."""
    y, x = np.mgrid[0:height, 0:width] / 19
    channels = np.stack([np.sin(x + k) * np.cos(y * (k + 1) / 2) for k in range(3)], -1)
    noise = np.random.default_rng(0).normal(0, 12, channels.shape)
    return Image.fromarray((channels * 90 + 128 + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Files of all kinds."""
    root = tmp_path_factory.mktemp('images')
    image, exif = picture(281, 373), Image.Exif()
    exif[0x0112] = 6
    image.save(root / 'wide.jpg')
    picture(391, 263).save(root / 'tall.jpg')
    picture(90, 61).save(root / 'small.jpg')
    image.save(root / 'turned.jpg', exif=exif)
    image.convert('CMYK').save(root / 'print.jpg')
    image.convert('L').save(root / 'grey.jpg')
    image.quantize(64).save(root / 'palette.png')
    image.convert('RGBA').save(root / 'opacity.png')
    deep = np.asarray(image.convert('L'), np.uint16) * 200
    Image.fromarray(deep).save(root / 'sixteen.png')
    return root


def torchvision_image(path, resize, crop):
    transform = transforms.Compose(
        [
            transforms.Resize(resize, BICUBIC),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return transform(Image.open(path).convert('RGB'))


def our_image(config, path):
    """What the model of a config gets: the test pipeline, then the model's normalisation."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        result = dict(img_path=str(path))
        for step in config.test_dataloader.dataset.pipeline:
            result = TRANSFORMS.build(dict(step))(result)
        preprocessor = dict(type='ClsDataPreprocessor', **config.data_preprocessor)
        return MODELS.build(preprocessor)(dict(inputs=[result['inputs']]))['inputs'][0]


@pytest.mark.parametrize('name', SIZES)
def test_every_family_sees_what_its_authors_evaluated(name, images):
    config = Config.fromfile(ROOT / f'configs/{name}.py', import_custom_modules=False)
    assert config.val_dataloader.dataset.pipeline == config.test_dataloader.dataset.pipeline
    for file in ('wide.jpg', 'tall.jpg', 'small.jpg'):
        want = torchvision_image(images / file, *SIZES[name])
        got = our_image(config, images / file)
        torch.testing.assert_close(got, want, rtol=0, atol=2e-6)
        row = MODEL_TABLE.get(name.removeprefix('cls/').removesuffix('_in1k'))
        if row is not None:
            assert torch.equal(row.preprocessing(open_image(images / file)), want)


@pytest.mark.parametrize(
    'file', ['turned.jpg', 'print.jpg', 'grey.jpg', 'palette.png', 'opacity.png', 'sixteen.png']
)
@pytest.mark.parametrize('name', ['cls/vim_tiny_in1k', 'toy/cls_mambaout'])
def test_images_of_other_kinds_are_read_as_pil_does(name, file, images):
    config = Config.fromfile(ROOT / f'configs/{name}.py', import_custom_modules=False)
    load = config.train_dataloader.dataset.pipeline[0]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        image = TRANSFORMS.build(dict(load))(dict(img_path=str(images / file)))['img']
    want = np.asarray(Image.open(images / file).convert('RGB'))
    assert np.array_equal(image[..., ::-1], want)
    if name.startswith('cls'):
        got = our_image(config, images / file)
        want = torchvision_image(images / file, *SIZES[name])
        torch.testing.assert_close(got, want, rtol=0, atol=2e-6)
