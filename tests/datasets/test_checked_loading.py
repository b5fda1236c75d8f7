"""Images that cannot be loaded are named, whichever decoder and process meets them."""

import pickle
import re

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset, Compose, ConcatDataset, RepeatDataset
from PIL import Image

from mmvmamba.datasets.checked_loading import CheckedImage, check_loading
from mmvmamba.datasets.errors import ImageError
from mmvmamba.engine import Runner
from tests.datasets.lmdb_samples import encode, random_image
from tests.datasets.test_image_files import png


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'a b.png'
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (8, 12, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('to_float32', [False, True])
def test_sound_images_are_loaded_as_mmcv_loads_them(backend, to_float32, image):
    step = LoadImageFromFile(to_float32=to_float32, imdecode_backend=backend)
    want, got = step(dict(img_path=str(image))), CheckedImage(step)(dict(img_path=str(image)))
    assert want.keys() == got.keys()
    assert want['img'].dtype == got['img'].dtype
    for key in want:
        assert np.array_equal(want[key], got[key])
    assert pickle.loads(pickle.dumps(CheckedImage(step))).imdecode_backend == backend


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize(
    ('data', 'problem'),
    [
        (None, 'the image cannot be opened: No such file or directory'),
        (b'', 'the image cannot be read: the file is empty'),
        (b'no picture', 'the image cannot be read: no image format that Pillow knows'),
        (png(300_000, 1), 'the image cannot be read: it declares 300000 x 1 pixels, too many'),
        (png(16_000, 16_000), 'the image cannot be read: it declares 16000 x 16000 pixels, too'),
        (encode(random_image(0))[:-99], 'the image cannot be read: OSError: image file is trunc'),
    ],
    ids=['missing', 'empty', 'text', 'line', 'large', 'cut'],
)
def test_images_that_cannot_be_read_are_named(backend, data, problem, tmp_path):
    path = tmp_path / 'x.png'
    if data is not None:
        path.write_bytes(data)
    step = LoadImageFromFile(imdecode_backend=backend)
    with pytest.raises(ImageError, match=re.escape(problem)) as caught:
        CheckedImage(step)(dict(img_path=str(path)))
    assert f'(path: {path})' in str(caught.value)
    step.ignore_empty = True
    assert CheckedImage(step)(dict(img_path=str(path))) is None


def test_images_of_another_size_than_their_record_are_named(image):
    load = CheckedImage(LoadImageFromFile())
    assert load(dict(img_path=str(image), width=12, height=8))['img_shape'] == (8, 12)
    with pytest.raises(ImageError, match='the image is 12 x 8, its record says 13 x 8 '):
        load(dict(img_path=str(image), width=13, height=8))


class Images(BaseDataset):
    def load_data_list(self):
        return [dict(img_path=self.ann_file)]


def test_wrapped_data_sets_and_augmented_tests_are_reached(image):
    def build():
        return Images(ann_file=str(image), pipeline=[LoadImageFromFile()], serialize_data=False)

    inner = [build(), build()]
    check_loading(ConcatDataset(inner))
    inner.append(build())
    check_loading(RepeatDataset(inner[2], 2))
    check_loading(inner[0])
    assert [type(data.pipeline.transforms[0]) for data in inner] == [CheckedImage] * 3
    augmented = build()
    step = LoadImageFromFile()
    step.subroutines = [Compose([LoadImageFromFile()])]
    augmented.pipeline.transforms = [step]
    check_loading(augmented)
    assert type(step.subroutines[0].transforms[0]) is CheckedImage


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_corrupt_image_in_a_class_folder_is_named(workers, tmp_path, image):
    for name in ('ant', 'bee'):
        (tmp_path / 'images' / name).mkdir(parents=True)
        (tmp_path / 'images' / name / 'x.png').write_bytes(image.read_bytes())
    broken = tmp_path / 'images/bee/x.png'
    broken.write_bytes(image.read_bytes()[:100])
    loader = Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=workers,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(
                type='mmpretrain.CustomDataset',
                data_prefix=str(tmp_path / 'images'),
                pipeline=[
                    dict(type='mmpretrain.LoadImageFromFile', imdecode_backend='pillow'),
                    dict(type='mmpretrain.PackInputs'),
                ],
            ),
        )
    )
    with pytest.raises(ImageError, match=rf'the image cannot be read: .* \(path: {broken}\)'):
        next(iter(loader))
