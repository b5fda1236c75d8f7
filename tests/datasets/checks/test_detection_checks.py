"""Every fault of COCO annotations is found, and whole data have none."""

import json
import re

import pytest
from mmdet.datasets import CocoDataset
from mmdet.utils import register_all_modules

from mmvmamba.datasets.checks.detection import check_detection
from mmvmamba.datasets.toy import DET_CATEGORIES, make_toy_data

CLASSES = tuple(DET_CATEGORIES)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    root, _ = make_toy_data(tmp_path_factory.mktemp('toy'), 'coco', num_train=20, num_val=1)
    return root, json.loads((root / 'annotations/instances_train2017.json').read_text())


@pytest.fixture
def content(toy):
    """The annotations, to be changed."""
    return json.loads(json.dumps(toy[1]))


def faults(toy, tmp_path, content, classes=CLASSES, num_classes=3):
    register_all_modules()
    path = tmp_path / 'annotations.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    dataset = CocoDataset(
        ann_file=str(path),
        data_prefix=dict(img=str(toy[0] / 'train2017')),
        metainfo=dict(classes=classes),
        lazy_init=True,
    )
    found = check_detection(dataset, num_classes, workers=2)
    return [str(f).replace(f'{tmp_path}/', '').replace(f'{toy[0]}/', '') for f in found]


def first(content, **values):
    """Changes the first annotation that is no crowd, and names it and its file."""
    annotation = next(a for a in content['annotations'] if not a['iscrowd'])
    annotation.update(values)
    names = {image['id']: image['file_name'] for image in content['images']}
    return f'annotations.json: annotation {annotation["id"]}: ', names.get(annotation['image_id'])


def test_sound_data_have_no_fault(toy, content, tmp_path):
    assert any(a['iscrowd'] for a in content['annotations'])
    assert faults(toy, tmp_path, content) == []


@pytest.mark.parametrize(
    ('box', 'problem'),
    [
        ([5, 5, 0, 4], 'the box [5, 5, 0, 4] has no area'),
        ([5, 5, 4, -1], 'the box [5, 5, 4, -1] has no area'),
        ([-3, 5, 6, 4], 'the box [-3, 5, 6, 4] reaches 3 pixels outside of {size}'),
        ([5, 5, 900, 4], 'the box [5, 5, 900, 4] reaches {beyond} pixels outside of {size}'),
        ([5, 5, 4], 'the box must be four numbers, got [5, 5, 4]'),
        ([5, 5, float('nan'), 4], 'the box must be four numbers, got [5, 5, nan, 4]'),
        (None, 'the box must be four numbers, got None'),
    ],
    ids=str,
)
def test_bad_boxes(box, problem, toy, content, tmp_path):
    name, file_name = first(content, bbox=box)
    image = next(image for image in content['images'] if image['file_name'] == file_name)
    width, height = image['width'], image['height']
    problem = problem.format(size=f'{width} x {height}', beyond=905 - width)
    assert faults(toy, tmp_path, content) == [f'{name}{problem} ({file_name})']


def test_a_box_may_reach_over_the_edge_by_less_than_a_pixel(toy, content, tmp_path):
    first(content, bbox=[-0.9, 0, 5, 5])
    assert faults(toy, tmp_path, content) == []


@pytest.mark.parametrize(
    ('mask', 'problem'),
    [
        ([[1, 1, 5, 5]], 'a polygon must be three or more pairs of numbers, got 4'),
        ([[1, 1, 5, 5, 1, 5, 3]], 'a polygon must be three or more pairs of numbers, got 7'),
        ([[1, 1, 5, 5, 1, 'x']], 'a polygon holds what is not a number'),
        ([[500, 500, 510, 510, 500, 510]], 'the mask is empty'),
        (dict(size=[3, 3], counts=[9]), r'the mask is made for [height, width] [3, 3], .*'),
        (dict(counts=[3, 4]), 'the run lengths must add up to .*, got 7'),
        (dict(counts=7), 'the run lengths must be a list or a string, got int'),
    ],
    ids=str,
)
def test_broken_masks(mask, problem, toy, content, tmp_path):
    name, file_name = first(content, segmentation=mask)
    if isinstance(mask, dict):
        image = next(image for image in content['images'] if image['file_name'] == file_name)
        mask.setdefault('size', [image['height'], image['width']])
    (found,) = faults(toy, tmp_path, content)
    pattern = '.*'.join(re.escape(part) for part in problem.split('.*'))
    assert re.fullmatch(rf'{re.escape(name)}{pattern} \({file_name}\)', found)


def test_categories_and_images_that_do_not_exist(toy, content, tmp_path):
    name, file_name = first(content, category_id=3)
    assert faults(toy, tmp_path, content) == [f'{name}there is no category 3 ({file_name})']
    name, _ = first(content, category_id=1, image_id=999)
    assert faults(toy, tmp_path, content) == [f'{name}there is no image 999']


def test_ids_that_occur_twice(toy, content, tmp_path):
    content['annotations'][1]['id'] = content['annotations'][0]['id']
    content['images'].append(content['images'][0])
    assert faults(toy, tmp_path, content)[:2] == [
        'annotations.json: images: id 1 occurs 2 times',
        f'annotations.json: annotations: id {content["annotations"][0]["id"]} occurs 2 times',
    ]


def test_classes_that_do_not_match_the_categories(toy, content, tmp_path):
    found = faults(toy, tmp_path, content, classes=('disc', 'Square', 'triangle'))
    assert found == [
        'annotations.json: no category has the name of these classes: Square',
        'annotations.json: no class has the name of these categories: square',
    ]


def test_classes_that_do_not_fit_the_model(toy, content, tmp_path):
    assert faults(toy, tmp_path, content, num_classes=80) == [
        'annotations.json: the data set must name the 80 classes of the model, got 3'
    ]


def test_empty_split(toy, content, tmp_path):
    content.update(images=[], annotations=[])
    assert faults(toy, tmp_path, content) == ['annotations.json: the split is empty: no images']


def test_missing_and_mismatched_images(toy, content, tmp_path):
    content['images'][0]['file_name'] = 'nowhere.jpg'
    image = content['images'][1]
    image['width'] += 1
    assert faults(toy, tmp_path, content) == [
        'train2017/nowhere.jpg: the image cannot be opened: No such file or directory',
        f'train2017/{image["file_name"]}: the image is {image["width"] - 1} x {image["height"]}, '
        f'its record says {image["width"]} x {image["height"]}',
    ]


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('{"images": [', 'the annotations are not JSON: Expecting value'),
        ('{"images": []}', 'the annotations must have images, annotations, categories; missing: '),
        ('[]', 'the annotations must have images, annotations, categories; missing: '),
    ],
)
def test_files_that_hold_something_else(text, problem, toy, tmp_path):
    (found,) = faults(toy, tmp_path, text)
    assert found.startswith(f'annotations.json: {problem}')


def test_other_formats_are_refused():
    with pytest.raises(ValueError, match='must be a CocoDataset to be checked, got object'):
        check_detection(object(), 3)
