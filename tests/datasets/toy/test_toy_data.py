import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from pycocotools.coco import COCO

from mmvmamba.datasets.toy import (
    CLS_CLASSES,
    DET_CATEGORIES,
    SEG_CLASSES,
    draw_scene,
    make_toy_data,
    mask_to_polygons,
    mask_to_rle,
    shape_mask,
)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    folder, _ = make_toy_data(tmp_path_factory.mktemp('toy'), 'coco', num_train=60, num_val=3)
    return folder


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*') if p.is_file()
    }


@pytest.mark.parametrize('name', ['coco', 'ade20k', 'imagenet'])
def test_the_seed_decides_every_byte(name, tmp_path):
    first, _ = make_toy_data(tmp_path / 'a', name, 8, 4, seed=3)
    again, _ = make_toy_data(tmp_path / 'b', name, 8, 4, seed=3)
    other, _ = make_toy_data(tmp_path / 'c', name, 8, 4, seed=4)
    assert contents(first) == contents(again)
    assert contents(first) != contents(other)


def test_training_and_validation_images_differ(coco):
    names = ('train2017/000000000001.jpg', 'val2017/000000000001.jpg')
    first, second = ((coco / name).read_bytes() for name in names)
    assert first != second


def test_coco_annotations_describe_the_images(coco):
    truth = COCO(coco / 'annotations/instances_train2017.json')
    assert {c['name']: c['id'] for c in truth.dataset['categories']} == DET_CATEGORIES
    for image in truth.dataset['images']:
        with Image.open(coco / 'train2017' / image['file_name']) as picture:
            assert picture.size == (image['width'], image['height'])
    for annotation in truth.dataset['annotations']:
        mask = truth.annToMask(annotation)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y, width, height = annotation['bbox']
        seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(seen, (x, y, x + width, y + height), atol=1)
        assert mask.sum() == pytest.approx(annotation['area'], rel=0.03)


def test_coco_scenes_are_varied(coco):
    truth = json.loads((coco / 'annotations/instances_train2017.json').read_text())
    per_image = Counter(a['image_id'] for a in truth['annotations'])
    crowds = [a for a in truth['annotations'] if a['iscrowd']]
    assert len(per_image) < len(truth['images']), 'some images are empty'
    assert max(per_image.values()) >= 4
    assert crowds
    assert all(isinstance(a['segmentation'], dict) for a in crowds)
    assert {a['category_id'] for a in truth['annotations']} == set(DET_CATEGORIES.values())
    modes = Counter(Image.open(path).mode for path in (coco / 'train2017').iterdir())
    assert set(modes) == {'L', 'RGB'}
    sides = {side for image in truth['images'] for side in (image['height'], image['width'])}
    assert any(side % 2 for side in sides)


def test_ade20k_labels_fit_the_images(tmp_path):
    folder, _ = make_toy_data(tmp_path, 'ade20k', num_train=20, num_val=3)
    seen = set()
    for label_path in sorted((folder / 'annotations/training').iterdir()):
        label = Image.open(label_path)
        image = Image.open(folder / 'images/training' / f'{label_path.stem}.jpg')
        assert label.size == image.size
        seen |= set(np.unique(np.asarray(label)).tolist())
    assert seen == set(range(len(SEG_CLASSES) + 1)), 'all classes and the unlabelled 0'


def test_imagenet_lists_agree_with_the_folders(tmp_path):
    folder, _ = make_toy_data(tmp_path, 'imagenet', num_train=13, num_val=6)
    lines = (folder / 'meta/train.txt').read_text().splitlines()
    assert len(lines) == 13
    for line in lines:
        path, label = line.rsplit(' ', 1)
        assert (folder / 'train' / path).is_file()
        assert path.split('/')[0] == CLS_CLASSES[int(label)]
    assert sorted(p.name for p in (folder / 'val').iterdir()) == sorted(CLS_CLASSES)


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('coco', 'train2017/corrupted.jpg'),
        ('ade20k', 'images/training/corrupted.jpg'),
        ('imagenet', 'train/disc/corrupted.JPEG'),
    ],
)
def test_a_corrupted_file_comes_on_request_only(name, path, tmp_path):
    plain, _ = make_toy_data(tmp_path / 'a', name, 2, 2)
    broken, _ = make_toy_data(tmp_path / 'b', name, 2, 2, with_corrupted=True)
    assert not (plain / path).exists()
    with pytest.raises((UnidentifiedImageError, OSError)):
        Image.open(broken / path).load()


def test_an_existing_data_set_is_kept_or_refused(tmp_path):
    folder, written = make_toy_data(tmp_path, 'coco', 2, 2)
    assert written
    assert make_toy_data(tmp_path, 'coco', 2, 2) == (folder, False)
    with pytest.raises(FileExistsError, match='holds something else'):
        make_toy_data(tmp_path, 'coco', 3, 2)
    _, written = make_toy_data(tmp_path, 'coco', 3, 2, overwrite=True)
    assert written
    assert len(list((folder / 'train2017').iterdir())) == 3


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr('mmvmamba.datasets.toy.writers._save_image', stop)
    with pytest.raises(KeyboardInterrupt):
        make_toy_data(tmp_path, 'coco', 2, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(name='voc'), "must be one of .*, got 'voc'"),
        (dict(name='coco', num_train=0), 'at least 1, got 0 and 80'),
    ],
)
def test_bad_arguments_are_refused(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_toy_data(tmp_path, **arguments)


def test_polygons_follow_the_outer_edges_of_the_pixels():
    mask = np.zeros((9, 9), bool)
    mask[2:6, 3:8] = True
    (polygon,) = mask_to_polygons(mask)
    points = np.reshape(polygon, (-1, 2))
    np.testing.assert_allclose(points.min(0), (3, 2), atol=0.15)
    np.testing.assert_allclose(points.max(0), (8, 6), atol=0.15)


def test_a_hole_has_no_polygon():
    ring = shape_mask('ring', 40, 40, (20, 20), 15)
    assert mask_to_polygons(ring) is None


@pytest.mark.parametrize('corner', [False, True])
def test_run_lengths_count_down_the_columns(corner):
    mask = np.zeros((3, 2), bool)
    mask[1:, 0] = True
    mask[2, 1] = corner
    counts = [1, 2, 2, 1] if corner else [1, 2, 3]
    assert mask_to_rle(mask) == dict(size=[3, 2], counts=counts)


def test_objects_of_a_scene_never_share_a_pixel():
    rng = np.random.default_rng(0)
    for _ in range(10):
        _, objects = draw_scene(rng, (97, 130), ('disc', 'square'), 6, crowd_probability=1.0)
        assert sum(item.mask.astype(int) for item in objects).max() == 1
        assert all(item.mask.sum() >= 60 for item in objects)


@pytest.mark.parametrize('name', CLS_CLASSES)
def test_a_portrait_is_large_and_in_the_middle(name):
    rng = np.random.default_rng(0)
    for _ in range(5):
        _, (item,) = draw_scene(rng, (120, 150), (name,), 1, is_portrait=True)
        rows, columns = np.nonzero(item.mask)
        # A radius of 0.3 to 0.42 of the shorter side, around a point near the middle.
        extents = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 0.5 * 120 <= extents <= 0.95 * 120
        assert abs((rows.min() + rows.max()) / 2 / 120 - 0.5) < 0.2
        assert abs((columns.min() + columns.max()) / 2 / 150 - 0.5) < 0.2


def test_a_crowd_lies_behind_the_objects_and_is_marked():
    rng = np.random.default_rng(0)
    _, objects = draw_scene(rng, (97, 130), ('disc',), 2, crowd_probability=1.0)
    assert [item.is_crowd for item in objects] == [True, False, False]
    _, objects = draw_scene(rng, (97, 130), ('disc',), 2)
    assert not any(item.is_crowd for item in objects)
