"""Every fault of COCO annotations is found, and whole data have none."""

import json
import re

import pytest
from mmdet.datasets import CocoDataset
from mmdet.utils import register_all_modules

from mmvmamba.datasets.checks.detection import check_detection
from mmvmamba.datasets.coco_annotations import read_annotations
from mmvmamba.datasets.errors import AnnotationError
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
    names = [i['file_name'] for i in content['images'] if i['id'] == annotation['image_id']]
    return f'annotations.json: annotation {annotation["id"]} ', names[0] if names else None


def test_sound_data_have_no_fault(toy, content, tmp_path):
    assert any(a['iscrowd'] for a in content['annotations'])
    assert faults(toy, tmp_path, content) == []


@pytest.mark.parametrize(
    ('box', 'problem'),
    [
        ([5, 5, 0, 4], 'has a box [5, 5, 0, 4] without area, which is left out'),
        ([5, 5, 4, -1], 'must have a box of x, y, width >= 0 and height >= 0, got [5, 5, 4, -1]'),
        ([-3, 5, 6, 4], 'has a box [-3, 5, 6, 4] that reaches 3 pixels outside of {size}'),
        ([5, 5, 900, 4], 'has a box [5, 5, 900, 4] that reaches {beyond} pixels outside of {size}'),
        ([5, 5, 4], 'must have a box of x, y, width >= 0 and height >= 0, got [5, 5, 4]'),
        (None, 'must have a box of x, y, width >= 0 and height >= 0, got None'),
        ([5, 5, float('nan'), 4], 'must have a box of .* got [5, 5, nan, 4]'),
        ([5, 5, 10**400, 4], 'must have a box of .* got [5, 5, 1.*0, 4]'),
        (['5', 5, 4, 4], "must have a box of .* got ['5', 5, 4, 4]"),
        ([True, 5, 4, 4], 'must have a box of .* got [True, 5, 4, 4]'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_boxes(box, problem, toy, content, tmp_path):
    name, file_name = first(content, bbox=box)
    image = next(image for image in content['images'] if image['file_name'] == file_name)
    width, height = image['width'], image['height']
    problem = problem.format(size=f'{width} x {height}', beyond=905 - width)
    (found,) = faults(toy, tmp_path, content)
    assert re.fullmatch(re.escape(name + problem).replace(r'\.\*', '.*'), found)


def test_a_box_may_reach_over_the_edge_by_less_than_a_pixel(toy, content, tmp_path):
    first(content, bbox=[-0.9, 0, 5, 5])
    assert faults(toy, tmp_path, content) == []


@pytest.mark.parametrize(
    ('mask', 'problem'),
    [
        ([[1, 1, 5, 5]], 'has a polygon that is not three or more pairs of numbers, but 4'),
        ([[1, 1, 5, 5, 1, 5, 3]], 'has a polygon that is not three or more pairs of .*, but 7'),
        ([[1, 1, 5, 5, 1, 'x']], 'has a polygon with what is not a finite number: .*'),
        ([[1, 1, 5, 5, 1, True]], 'has a polygon with what is not a finite number: .*'),
        ([[1, 1, 5, 5, 1, float('nan')]], 'has a polygon with what is not a finite number: .*'),
        ([[1, 1, 5, 5, 1, float('inf')]], 'has a polygon with what is not a finite number: .*'),
        ([[1, 1, 5, 5, 1, 10**400]], 'has a polygon with what is not a finite number: .*'),
        ([[1, 1, 1e9, 1, 5, 5]], 'has a polygon that reaches 1e.09 pixels outside of .*'),
        ([[1, 1, -1e9, 1, 5, 5]], 'has a polygon that reaches 1e.09 pixels outside of .*'),
        ([[170, 150, 180, 170, 170, 170]], 'has a polygon outside of .*'),
        ([[0, 0, 100, 100] * 30000], 'has a polygon with an outline of .* pixels, more than .*'),
        ([7], 'must have a mask, as polygons or run lengths, got [7]'),
        ('x', "must have a mask, as polygons or run lengths, got 'x'"),
        (dict(size=[3, 3], counts=[9]), 'must have a mask of the height and width of its image.*'),
        (dict(size=[10**9, 10**9], counts=[10**18]), 'must have a mask of the height and .*'),
        (dict(counts=[3, 4]), 'must have run lengths that add up to .*, got 7'),
        (dict(counts=[-3, 10**9]), 'must have run lengths that add up to .*, one of them -3'),
        (dict(counts=[True]), 'must have run lengths that are whole numbers or text, got .*'),
        (dict(counts=[1.5, 2]), 'must have run lengths that are whole numbers or text, got .*'),
        (dict(counts=7), 'must have run lengths that are whole numbers or text, got 7'),
        (dict(counts=''), "must have run lengths in the form of COCO, got ''"),
        (dict(counts='\u00e9\u00e9'), 'must have run lengths in the form of COCO, got .*'),
        (dict(counts='PPPPPPPPPPPP'), 'must have run lengths in the form of COCO, got .*'),
        (dict(counts='ooooooo0'), 'must have run lengths in the form of COCO, got .*'),
        (dict(counts='11'), 'must have run lengths that add up to .*, got 2'),
        (dict(size='whole', counts='whole'), 'has an empty mask'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_broken_masks(mask, problem, toy, content, tmp_path):
    name, file_name = first(content, segmentation=mask)
    image = next(image for image in content['images'] if image['file_name'] == file_name)
    width, height = image['width'], image['height']
    if isinstance(mask, dict):
        mask = dict(mask)
        if mask.get('counts') == 'whole':
            mask.update(size=[height, width], counts=[height * width])
        mask.setdefault('size', [height, width])
        first(content, segmentation=mask)
    (found,) = faults(toy, tmp_path, content)
    pattern = '.*'.join(re.escape(part) for part in problem.split('.*'))
    assert re.fullmatch((re.escape(name) + pattern).replace('1e\\.09', '1e.09'), found)


def test_categories_and_images_that_do_not_exist(toy, content, tmp_path):
    name, _ = first(content, category_id=3)
    assert faults(toy, tmp_path, content) == [f'{name}has category 3, which is not in the file']
    name, _ = first(content, category_id=1, image_id=999)
    problem = f'{name}belongs to image 999, which is not in the file'
    assert faults(toy, tmp_path, content) == [problem]


@pytest.mark.parametrize(
    ('changes', 'problem'),
    [
        (dict(area='9'), "must have a number as area, got '9'"),
        (dict(iscrowd=2), 'must have an iscrowd of 0 or 1, got 2'),
        (dict(iscrowd=[]), 'must have an iscrowd of 0 or 1, got []'),
        (dict(image_id=[1]), 'belongs to image [1], which is not in the file'),
        (dict(category_id={}), 'has category {}, which is not in the file'),
    ],
    ids=str,
)
def test_fields_of_other_types(changes, problem, toy, content, tmp_path):
    name, _ = first(content, **changes)
    assert faults(toy, tmp_path, content) == [f'{name}{problem}']


@pytest.mark.parametrize(
    ('table', 'record', 'problem'),
    [
        ('images', 7, 'image number 20 must be an object, got 7'),
        ('images', {}, 'image number 20 has no id'),
        ('images', dict(id=[]), 'image number 20 must have a whole number as id, got []'),
        ('images', dict(id=21.0), 'image number 20 must have a whole number as id, got 21.0'),
        ('annotations', dict(id='x'), 'annotation number {} must have a whole number as id, .*'),
        ('annotations', dict(id=10**30), 'annotation number {} must have a whole number as id, .*'),
        ('categories', dict(id=9, name=3), 'category 9 must have a name, got 3'),
        ('images', dict(id=21, file_name='x', width=0, height=5), 'image 21 must have whole .*'),
        ('images', dict(id=21, file_name='x', width=5.5, height=5), 'image 21 must have whole .*'),
        ('images', dict(id=21, file_name=7, width=5, height=5), 'image 21 must have the name .*'),
        (
            'images',
            dict(id=21, file_name='x', width=10**9, height=10**9),
            'image 21 cannot be right: it declares 1000000000 x 1000000000 pixels, too many: .*',
        ),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_records_of_other_forms(table, record, problem, toy, content, tmp_path):
    problem = problem.format(len(content['annotations']))
    content[table].append(record)
    found = faults(toy, tmp_path, content)
    assert re.fullmatch(re.escape(f'annotations.json: {problem}').replace(r'\.\*', '.*'), found[0])
    assert len(found) <= 2


def test_ids_that_occur_twice(toy, content, tmp_path):
    content['annotations'][1]['id'] = content['annotations'][0]['id']
    content['images'].append(content['images'][0])
    assert faults(toy, tmp_path, content)[:2] == [
        'annotations.json: image id 1 occurs 2 times',
        f'annotations.json: annotation id {content["annotations"][0]["id"]} occurs 2 times',
    ]


def test_classes_that_do_not_match_the_categories(toy, content, tmp_path):
    found = faults(toy, tmp_path, content, classes=('disc', 'Square', 'triangle'))
    assert found == [
        "annotations.json: the file lacks the classes ['Square'] of the model's data set; its "
        "categories are ['disc', 'square', 'triangle']",
        'annotations.json: no class has the name of these categories: square',
    ]


def test_classes_that_do_not_fit_the_model(toy, content, tmp_path):
    assert faults(toy, tmp_path, content, num_classes=80) == [
        'annotations.json: the data set must have the 80 classes of the model, got 3'
    ]


def test_empty_split(toy, content, tmp_path):
    content.update(images=[], annotations=[])
    assert faults(toy, tmp_path, content) == ['annotations.json: the split is empty: no images']


def test_missing_and_mismatched_images(toy, content, tmp_path):
    content['images'][0]['file_name'] = 'nowhere.jpg'
    image = content['images'][1]
    image['width'] += 1
    assert faults(toy, tmp_path, content) == [
        'annotations.json: image 1 is not there: train2017/nowhere.jpg',
        f'train2017/{image["file_name"]}: the image is {image["width"] - 1} x {image["height"]}, '
        f'its record says {image["width"]} x {image["height"]}',
    ]


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('{"images": [', 'the file is not JSON: Expecting value'),
        ('[' * 100_000, 'the file is not JSON: maximum recursion depth exceeded'),
        ('{"images": []}', "the file has no list 'categories': it is not a COCO annotation file"),
        ('{"images": 7, "categories": []}', "'images' must be a list, got 7"),
        ('[]', 'the file must hold an object, as COCO annotations do, got []'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_files_that_hold_something_else(text, problem, toy, tmp_path):
    (found,) = faults(toy, tmp_path, text)
    assert found.startswith(f'annotations.json: {problem}')


def test_files_of_another_encoding(toy, tmp_path, content):
    (tmp_path / 'other.json').write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(AnnotationError, match=r'other.json: the file is not JSON: .* codec'):
        read_annotations(str(tmp_path / 'other.json'))


def test_other_formats_are_refused():
    with pytest.raises(ValueError, match='must be a CocoDataset to be checked, got object'):
        check_detection(object(), 3)
