"""COCO data in training: what is handled, and what ends in an error with file and record."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmengine.registry import DATASETS, DefaultScope

from mmvmamba.datasets.coco import CocoDataset
from mmvmamba.datasets.errors import AnnotationError, ImageError, SourceError
from mmvmamba.datasets.toy import make_toy_data

CLASSES = ('disc', 'square', 'triangle')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_toy_data(tmp_path_factory.mktemp('data'), 'coco', num_train=6, num_val=1)[0]


@pytest.fixture
def content(folder):
    return json.loads((folder / 'annotations/instances_train2017.json').read_text())


@pytest.fixture
def build(folder, tmp_path):
    """Builds a data set of the toy images with changed annotations."""

    def build(content, kind=CocoDataset, classes=CLASSES, with_mask=True, **settings):
        path = tmp_path / 'annotations.json'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=with_mask),
            dict(type='PackDetInputs'),
        ]
        with DefaultScope.overwrite_default_scope('mmdet'):
            return kind(
                ann_file=str(path),
                data_prefix=dict(img=str(folder / 'train2017')),
                metainfo=dict(classes=classes),
                pipeline=pipeline,
                **settings,
            )

    return build


def test_samples_are_those_of_mmdet(build, content, capsys):
    own = build(content)
    assert capsys.readouterr().out == ''
    other = build(content, MMDetCocoDataset)
    assert len(own) == len(other) == 6
    for i in range(6):
        assert own.get_data_info(i) == other.get_data_info(i)
    assert own.cat_img_map == other.cat_img_map
    assert DATASETS.get('mmvmamba.CocoDataset') is CocoDataset


def test_boxes_without_area_or_outside_are_left_out_and_crowds_ignored(build, content):
    image = content['images'][0]
    kept = [item for item in content['annotations'] if item['image_id'] != image['id']]
    width, height = image['width'], image['height']
    template = content['annotations'][0]
    boxes = {
        'inside': [10, 10, 30, 30],
        'over the border': [width - 20, 10, 60, 30],
        'flat': [10, 10, 30, 0],
        'outside': [width + 5, 10, 30, 30],
        'crowd': [20, 20, 30, 30],
    }
    content['annotations'] = kept + [
        dict(template, id=10_000 + i, image_id=image['id'], bbox=box, area=900,
             iscrowd=int(name == 'crowd'))
        for i, (name, box) in enumerate(boxes.items())
    ]  # fmt: skip
    found = build(content).get_data_info(0)['instances']
    assert [item['bbox'][0] for item in found] == [10, width - 20, 20]
    assert [item['ignore_flag'] for item in found] == [0, 0, 1]
    assert height == image['height']


def test_polygons_and_both_kinds_of_run_lengths_become_the_same_mask(build, content):
    from pycocotools import mask as mask_utils

    item = content['annotations'][0]
    image = content['images'][0]
    size = image['height'], image['width']
    item.update(image_id=image['id'], iscrowd=0, bbox=[10, 20, 30, 20], area=600)
    polygon = [10, 20, 40, 20, 40, 40, 10, 40]
    mask = np.zeros(size, np.uint8)
    mask[20:40, 10:40] = 1
    packed = mask_utils.encode(np.asfortranarray(mask))
    changes = np.flatnonzero(np.diff(np.concatenate([[0], mask.flatten(order='F'), [0]])))
    counts = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    content['annotations'] = [item]
    for segmentation in (
        [polygon],
        dict(size=list(size), counts=packed['counts'].decode()),
        dict(size=list(size), counts=counts),
    ):
        item['segmentation'] = segmentation
        masks = build(content)[0]['data_samples'].gt_instances.masks.to_ndarray()
        assert np.array_equal(masks, mask[None])


def test_images_without_annotations_are_kept_unless_filtered(build, content):
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] == 1]
    assert len(build(content)) == 6
    assert len(build(content, filter_cfg=dict(filter_empty_gt=True))) == 1
    assert len(build(content)[3]['data_samples'].gt_instances) == 0


def test_other_categories_are_left_out(build, content):
    dataset = build(content, classes=('disc', 'triangle'))
    labels = {item['bbox_label'] for info in map(dataset.get_data_info, range(6))
              for item in info['instances']}  # fmt: skip
    assert labels == {0, 1}


def spoil(record, **changes):
    record.update(changes)
    for key in [key for key, value in changes.items() if value is None]:
        del record[key]


@pytest.mark.parametrize(
    ('kind', 'changes', 'message'),
    [
        ('images', dict(id=1), 'image id 1 occurs 2 times'),
        ('images', dict(height=None), 'image 3 lacks width or height'),
        ('images', dict(file_name=None), 'image 3 lacks file_name'),
        ('categories', dict(id=1), 'category id 1 occurs 2 times'),
        ('annotations', dict(id=1), 'annotation id 1 occurs 2 times'),
        ('annotations', dict(category_id=99), 'annotation 3 has category 99'),
        ('annotations', dict(image_id=99), 'annotation 3 belongs to image 99'),
        ('annotations', dict(bbox=[0, 0, float('nan'), 1]), 'annotation 3 must have a box'),
        ('annotations', dict(area=None), r"annotation 3 lacks \['area'\]"),
        ('annotations', dict(segmentation=None), 'annotation 3 has no mask'),
        ('annotations', dict(segmentation=[]), 'annotation 3 has no mask'),
        ('annotations', dict(segmentation=[[]]), 'annotation 3 must have a mask'),
        ('annotations', dict(segmentation=[[1, 1, 9, float('inf')]]), 'annotation 3 has a polygon'),
        (
            'annotations',
            dict(segmentation=dict(size=[5, 5], counts=[25])),
            'annotation 3 must have a mask of the height and width of its image',
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_records_are_named(kind, changes, message, build, content):
    spoil(content[kind][2], **changes)
    with pytest.raises(AnnotationError, match=f'annotations.json: {message}'):
        build(content)


def test_run_lengths_of_another_length_are_named(build, content):
    size = [content['images'][0][key] for key in ('height', 'width')]
    spoil(content['annotations'][2], image_id=1, segmentation=dict(size=size, counts=[7]))
    with pytest.raises(AnnotationError, match='annotation 3 must have run lengths that add up'):
        build(content)


def test_masks_are_needed_by_those_who_load_them_only(build, content):
    spoil(content['annotations'][2], segmentation=None)
    assert len(build(content, with_mask=False)) == 6


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"images": [', 'annotations.json: the file is not JSON'),
        ('{}', "annotations.json: the file has no list 'images'"),
    ],
)
def test_other_files_are_refused(text, message, build):
    with pytest.raises(AnnotationError, match=message):
        build(text)


def test_classes_that_the_file_lacks_or_orders_otherwise_are_refused(build, content):
    with pytest.raises(AnnotationError, match=r"lacks the classes \['dice'\]"):
        build(content, classes=('disc', 'dice'))
    with pytest.raises(AnnotationError, match=r'in the order of the classes of the config'):
        build(content, classes=('square', 'disc'))


def test_missing_images_are_named_before_anything_is_read(build, content, folder):
    spoil(content['images'][2], file_name='nowhere.jpg')
    path = Path(folder, 'train2017', 'nowhere.jpg')
    with pytest.raises(SourceError, match=f'image 3 is not there: {path}; 1 of 6 images'):
        build(content)


@pytest.mark.parametrize(
    'data', [b'', b'no picture', b'\xff\xd8\xff\xe0'], ids=['empty', 'text', 'cut']
)
def test_unreadable_images_are_named(data, build, content, folder):
    path = folder / 'train2017' / 'broken.jpg'
    path.write_bytes(data)
    spoil(content['images'][2], file_name='broken.jpg')
    dataset = build(content)
    with pytest.raises(
        ImageError, match=rf'the image cannot be .* \(path: {path}\)\. `mmvmamba data check'
    ):
        dataset[2]
