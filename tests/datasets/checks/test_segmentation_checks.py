"""Every fault of segmentation data is found, and whole data have none."""

import re

import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from mmseg.utils import register_all_modules
from PIL import Image

from mmvmamba.datasets.checked_loading import check_loading
from mmvmamba.datasets.checks.faults import read_size
from mmvmamba.datasets.checks.segmentation import check_segmentation, find_unpaired
from mmvmamba.datasets.errors import DataError, ImageError

CLASSES = ('a', 'b', 'c')


@pytest.fixture
def root(tmp_path):
    for name in ('images', 'masks'):
        (tmp_path / name / 'deep').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ('1', '2', 'deep/3'):
        Image.fromarray(rng.integers(0, 255, (8, 12, 3), np.uint8)).save(
            tmp_path / f'images/{name}.jpg'
        )
        # As in ADE20K: 0 is "no class" and 255 is taken for it too.
        write_mask(tmp_path, name, rng.choice([0, 1, 2, 3, 255], (8, 12)))
    return tmp_path


def write_mask(root, name, array):
    Image.fromarray(np.asarray(array, np.uint8)).save(root / f'masks/{name}.png')


def dataset(root, reduce_zero_label=True, **settings):
    register_all_modules()
    return BaseSegDataset(
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=CLASSES),
        reduce_zero_label=reduce_zero_label,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
        lazy_init=True,
        **settings,
    )


def faults(root, num_classes=3, **settings):
    found = check_segmentation(dataset(root, **settings), num_classes, workers=2)
    return [str(fault).replace(f'{root}/', '') for fault in found]


def test_sound_data_have_no_fault(root):
    assert faults(root) == []


def test_labels_out_of_range(root):
    write_mask(root, '2', np.full((8, 12), 4))
    assert faults(root) == [
        'masks/2.png: labels must be 0 to 2 or 255, got 3, '
        'each 1 more in the file (reduce_zero_label)'
    ]
    write_mask(root, '2', np.full((8, 12), 3))
    assert faults(root) == []


def test_without_reduce_zero_label_the_range_begins_at_the_files_zero(root):
    for name in ('1', '2', 'deep/3'):
        write_mask(root, name, np.full((8, 12), 2))
    assert faults(root, reduce_zero_label=False) == []
    write_mask(root, '1', np.full((8, 12), 3))
    assert faults(root, reduce_zero_label=False) == [
        'masks/1.png: labels must be 0 to 2 or 255, got 3'
    ]


def test_labels_of_sixteen_bits_do_not_wrap_around(root):
    Image.fromarray(np.full((8, 12), 257, np.uint16)).save(root / 'masks/1.png')
    assert faults(root) == ['masks/1.png: labels must be 0 to 255, got 257']


def test_mask_of_another_size(root):
    write_mask(root, 'deep/3', np.ones((12, 8)))
    assert faults(root) == ['masks/deep/3.png: the mask is 8 x 12, its image 12 x 8']


def test_image_turned_by_its_exif_block(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(root / 'images/1.jpg', exif=exif)
    assert read_size(str(root / 'images/1.jpg'))[0] == (8, 12)
    assert faults(root) == ['masks/1.png: the mask is 12 x 8, its image 8 x 12']


def test_masks_of_three_channels(root):
    Image.fromarray(np.ones((8, 12, 3), np.uint8)).save(root / 'masks/1.png')
    assert faults(root) == ['masks/1.png: the mask must have one channel, got the shape (8, 12, 3)']


def test_masks_with_a_palette_are_fine(root):
    mask = Image.fromarray(np.full((8, 12), 3, np.uint8), mode='P')
    mask.putpalette([7, 8, 9] * 256)
    mask.save(root / 'masks/1.png')
    assert faults(root) == []


def test_missing_partners(root):
    (root / 'masks/1.png').unlink()
    (root / 'images/2.jpg').unlink()
    assert faults(root) == [
        'images/1.jpg: its mask masks/1.png is missing',
        'masks/2.png: the mask has no image in images',
    ]


def test_listed_images_that_are_missing(root):
    (root / 'list.txt').write_text('1\n4\n')
    assert faults(root, ann_file='list.txt') == [
        'images/4.jpg: the image is listed but missing',
        'images/4.jpg: its mask masks/4.png is missing',
    ]


def test_empty_split(root):
    empty = [str(fault) for fault in find_unpaired(dataset(root, img_suffix='.tif'))]
    assert empty == [f'{root}/images: the split is empty: no image that ends in .tif']


@pytest.mark.parametrize('folder', ['images', 'masks'])
def test_files_that_break_off(folder, root):
    path = next((root / folder).glob('1.*'))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (found,) = faults(root)
    assert found.startswith(f'{folder}/{path.name}: the {folder[:-1]} cannot be read: ')


def test_classes_that_do_not_fit_the_model(root):
    assert faults(root, num_classes=4) == [
        'images: the data set must have the 4 classes of the model, got 3'
    ]


def test_progress_is_shown_on_request(root, capfd):
    check_segmentation(dataset(root), 3, progress=True)
    assert 'check: 3 of 3 images' in capfd.readouterr().err


@pytest.mark.parametrize('fault', ['size', 'channels', 'depth', 'cut', 'missing'])
def test_training_stops_at_the_first_fault_in_the_same_words(fault, root):
    masks = {
        'size': np.ones((12, 8), np.uint8),
        'channels': np.ones((8, 12, 3), np.uint8),
        'depth': np.full((8, 12), 257, np.uint16),
    }
    path = root / 'masks/1.png'
    if fault in masks:
        Image.fromarray(masks[fault]).save(path)
    elif fault == 'cut':
        path.write_bytes(path.read_bytes()[:60])
    training = dataset(root)
    training.full_init()
    check_loading(training)
    if fault == 'missing':
        path.unlink()
        with pytest.raises(ImageError, match='the mask cannot be opened: No such file'):
            training[0]
        return
    (found,) = check_segmentation(dataset(root), 3)
    with pytest.raises(DataError, match=re.escape(f'{found.problem} (path: {found.path})')):
        for i in range(3):
            training[i]


def test_sound_masks_are_loaded_as_mmseg_loads_them(root):
    plain, checked = dataset(root), dataset(root)
    check_loading(checked)
    for i in range(3):
        want, got = plain[i], checked[i]
        assert np.array_equal(got['gt_seg_map'], want['gt_seg_map'])
        assert np.array_equal(got['img'], want['img'])
        assert got['ori_shape'] == want['ori_shape'] == got['img_shape']
