"""YOLO's labels as annotations of COCO's form."""

import numpy as np
import pytest
import yaml
from PIL import Image

from mmvmamba.datasets.coco_annotations import check_annotations
from mmvmamba.datasets.errors import AnnotationError, ImageError
from mmvmamba.datasets.yolo import coco_annotations, read_yolo

CLASSES = ['cat', 'dog']
TURNED_RIGHT = 6


@pytest.fixture
def folder(tmp_path):
    for split in ('train', 'val'):
        (tmp_path / 'images' / split).mkdir(parents=True)
        (tmp_path / 'labels' / split).mkdir(parents=True)
        Image.new('RGB', (200, 100)).save(tmp_path / 'images' / split / 'a.jpg')
    return tmp_path


def describe(folder, **content):
    file = folder / 'data.yaml'
    file.write_text(yaml.safe_dump(content))
    return file


def label(folder, *lines):
    (folder / 'labels/train/a.txt').write_text('\n'.join(lines))


def annotations(folder):
    content = coco_annotations([folder / 'images/train/a.jpg'], CLASSES, folder)
    check_annotations(content, 'converted', CLASSES, with_files=True)
    return content


def test_boxes_worked_by_hand(folder):
    label(folder, '1 0.5 0.5 0.2 0.4', '', '0 0.05 0.1 0.1 0.2')
    content = annotations(folder)
    assert content['images'] == [dict(id=0, file_name='images/train/a.jpg', width=200, height=100)]
    first, second = content['annotations']
    assert first['bbox'] == [80, 30, 40, 40] and first['category_id'] == 1
    assert second['bbox'] == [0, 0, 20, 20] and second['category_id'] == 0
    assert np.isclose(first['area'], 1600) and 'segmentation' not in first


def test_outlines_become_masks_if_every_object_has_one(folder):
    triangle = '0 0.1 0.2 0.3 0.2 0.1 0.6'
    label(folder, triangle)
    (record,) = annotations(folder)['annotations']
    assert record['segmentation'] == [[20, 20, 60, 20, 20, 60]]
    assert record['bbox'] == [20, 20, 40, 40] and np.isclose(record['area'], 800)
    label(folder, triangle, '1 0.5 0.5 0.2 0.4')
    assert all('segmentation' not in record for record in annotations(folder)['annotations'])


def test_labels_are_of_the_image_as_its_exif_block_turns_it(folder):
    exif = Image.Exif()
    exif[0x0112] = TURNED_RIGHT
    Image.new('RGB', (200, 100)).save(folder / 'images/train/a.jpg', exif=exif)
    label(folder, '0 0.5 0.5 1 0.5')
    content = annotations(folder)
    assert (content['images'][0]['width'], content['images'][0]['height']) == (100, 200)
    assert content['annotations'][0]['bbox'] == [0, 50, 100, 100]


def test_an_image_without_labels_has_no_objects(folder):
    assert annotations(folder)['annotations'] == []


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('0 0.5 0.5 0.2', r'line 1 must be a class and 4 numbers .*, got .0 0.5 0.5 0.2. .*a.txt'),
        ('cat 0.5 0.5 0.2 0.4', 'line 1 must be a class and 4 numbers of a box'),
        ('0 0.5 0.5 0.2 0.4 0.9', 'line 1 must be a class and 4 numbers of a box'),
        ('0 0.5 0.5 -0.2 0.4', 'line 1 must be a class and 4 numbers of a box'),
        ('2 0.5 0.5 0.2 0.4', 'line 1 must have a class from 0 to 1, got'),
        ('0.5 0.5 0.5 0.2 0.4', 'line 1 must have a class from 0 to 1, got'),
        ('0 80 30 40 40', 'line 1 must have fractions of the image, from 0 to 1'),
        ('0 nan 0.5 0.2 0.4', 'line 1 must have fractions of the image, from 0 to 1'),
    ],
)
def test_a_bad_line_is_named(line, message, folder):
    label(folder, line)
    with pytest.raises(AnnotationError, match=message):
        annotations(folder)


def test_an_image_that_is_none_is_named(folder):
    (folder / 'images/train/a.jpg').write_text('no image')
    with pytest.raises(ImageError, match=r'cannot be read: .* \(path: .*a\.jpg\)'):
        annotations(folder)


@pytest.mark.parametrize('names', [CLASSES, dict(enumerate(CLASSES))], ids=['list', 'numbers'])
@pytest.mark.parametrize(
    ('train', 'val', 'more'),
    [
        ('images/train', 'images/val', {}),
        ('../images/train', '../images/val', {}),
        ('train', 'val', dict(path='images')),
        (['images/train'], 'val.txt', {}),
    ],
    ids=['beside', 'above', 'path', 'list'],
)
def test_a_description_leads_to_the_images(names, train, val, more, folder):
    (folder / 'val.txt').write_text('./images/val/a.jpg\n')
    data = read_yolo(describe(folder, train=train, val=val, names=names, **more))
    assert data.classes == tuple(CLASSES)
    for split in ('train', 'val'):
        (image,) = getattr(data, split)
        assert image.samefile(folder / f'images/{split}/a.jpg')


SPLITS = dict(train='images/train', val='images/val')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(val='images/val', names=CLASSES), "has no key 'train'"),
        (SPLITS, 'has no list of names'),
        (dict(SPLITS, names={0: 'cat', 2: 'dog'}), r'numbered from 0, got \[0, 2\]'),
        (dict(SPLITS, names=['cat', 'cat']), 'names must differ'),
        (dict(SPLITS, train='gone', names=CLASSES), 'there is no gone, tried'),
        (dict(SPLITS, val='labels/val', names=CLASSES), r"no images in \['labels/val'\]"),
    ],
)
def test_a_bad_description_is_named(content, message, folder):
    with pytest.raises(AnnotationError, match=message):
        read_yolo(describe(folder, **content))


@pytest.mark.parametrize(
    ('text', 'message'), [('a: [', 'not YAML'), ('no dict', 'must have the keys train, val')]
)
def test_what_is_no_description_is_named(text, message, folder):
    (folder / 'data.yaml').write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_yolo(folder / 'data.yaml')


def test_numbers_stand_for_names_that_are_not_given(folder):
    assert read_yolo(describe(folder, **SPLITS, nc=3)).classes == ('0', '1', '2')
