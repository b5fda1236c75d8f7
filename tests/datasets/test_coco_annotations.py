"""Whatever an annotation file holds, its judge ends in a list of sentences."""

import copy

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from mmvmamba.datasets.coco_annotations import annotation_faults
from mmvmamba.datasets.coco_masks import mask_problems

SOUND = dict(
    images=[dict(id=1, width=30, height=20, file_name='a.jpg')],
    categories=[dict(id=3, name='disc'), dict(id=4, name='square')],
    annotations=[
        dict(
            **dict(id=7, image_id=1, category_id=3, bbox=[1, 2, 9, 9], area=81, iscrowd=0),
            segmentation=[[1, 2, 10, 2, 10, 11]],
        )
    ],
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from([10**400, -(10**400), 2**63, 'images', 'id'])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=7)
    | st.dictionaries(st.sampled_from(['id', 'size', 'counts', 'name', 'x']), inner, max_size=3),
    max_leaves=12,
)
FIELDS = [
    (table, key)
    for table, records in SOUND.items()
    for key in (None, 'segmentation_parts', *records[0])
]


def judge(content):
    found = annotation_faults(content, 'a.json', ('disc', 'square'), True, True)
    return [str(fault) for fault in found]


def test_sound_annotations_have_no_fault():
    assert judge(SOUND) == []


@given(VALUES)
@settings(max_examples=30, deadline=None)
def test_any_value_in_the_place_of_the_file(content):
    assert all(text.startswith('a.json: ') for text in judge(content))
    assert judge(content)


@given(st.sampled_from(FIELDS), VALUES)
@settings(max_examples=150, deadline=None)
def test_any_value_in_the_place_of_a_field(field, value):
    content = copy.deepcopy(SOUND)
    table, key = field
    if key is None:
        content[table] = value
    elif key == 'segmentation_parts':
        content['annotations'][0]['segmentation'] = [value]
    else:
        content[table][0][key] = value
    assert all(text.startswith('a.json: ') for text in judge(content))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_run_lengths_of_cocos_tools_are_sound(height, width, seed, density):
    drawn = np.random.default_rng(seed).random((height, width)) < density
    packed = mask_utils.encode(np.asfortranarray(drawn.astype(np.uint8)))
    mask = dict(size=[height, width], counts=packed['counts'].decode())
    found = list(mask_problems(mask, width, height))
    assert found == ([] if drawn.any() else [('has an empty mask', True)])


@given(st.text(max_size=20) | st.lists(st.integers(-9, 50), max_size=9))
@settings(max_examples=200, deadline=None)
def test_only_run_lengths_that_cocos_tools_can_decode_pass(counts):
    mask = dict(size=[4, 5], counts=counts)
    if any(not is_note for _, is_note in mask_problems(mask, 5, 4)):
        return
    packed = mask_utils.frPyObjects(mask, 4, 5) if isinstance(counts, list) else mask
    assert mask_utils.decode(packed).shape == (4, 5)
