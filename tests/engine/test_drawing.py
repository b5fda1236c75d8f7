import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmvmamba.engine.drawing import draw_classes, draw_instances, draw_regions, side_by_side

GREY = np.full((40, 60, 3), 128, np.uint8)
MASK = np.zeros((1, 40, 60), bool)
MASK[:, 10:30, 20:40] = True


@pytest.mark.parametrize('kind', ['tensor', 'bitmap'])
@pytest.mark.parametrize('factor', [1, 3])
def test_masks_and_boxes_are_drawn_at_the_right_place(kind, factor):
    masks = (
        torch.as_tensor(MASK) if kind == 'tensor' else BitmapMasks(MASK.astype(np.uint8), 40, 60)
    )
    instances = InstanceData(
        bboxes=torch.tensor([[20.0, 10.0, 40.0, 30.0]]), labels=torch.tensor([1]), masks=masks
    )
    picture = draw_instances(GREY, instances, ('disc', 'square'), [(0, 0, 0), (255, 0, 0)], factor)
    assert picture.shape == (40 * factor, 60 * factor, 3)
    red = picture[25 * factor, 30 * factor]
    assert red[0] > 160
    assert red[1] < 90, 'inside the mask'
    assert tuple(picture[10 * factor + 5 * factor, 20 * factor]) == (255, 0, 0), 'on the edge'
    assert tuple(picture[36 * factor, 50 * factor]) == (128, 128, 128), 'outside'
    assert tuple(GREY[20, 30]) == (128, 128, 128), 'the image given is not changed'


def test_nothing_found_leaves_the_image():
    nothing = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), scores=torch.zeros(0)
    )
    assert np.array_equal(draw_instances(GREY, nothing, ('disc',), [(255, 0, 0)]), GREY)


def test_scores_are_written():
    box = dict(bboxes=torch.tensor([[5.0, 25.0, 50.0, 38.0]]), labels=torch.tensor([0]))
    bare = draw_instances(GREY, InstanceData(**box), ('disc',), [(255, 0, 0)], 4)
    scored = InstanceData(**box, scores=torch.tensor([0.5]))
    assert not np.array_equal(draw_instances(GREY, scored, ('disc',), [(255, 0, 0)], 4), bare)


def test_pictures_stand_side_by_side():
    both = side_by_side({'ground truth': GREY, 'prediction': GREY + 1})
    assert both.shape == (40 + 24, 2 * (60 + 4), 3)
    assert both[40, 10, 0] == 128
    assert both[40, 75, 0] == 129


def test_regions_are_coloured_and_named():
    labels = np.zeros((40, 60), int)
    labels[:, 30:], labels[30:, 30:] = 1, 255
    palette = [(0, 0, 0), (255, 0, 0)]
    picture = draw_regions(GREY, labels, ('grass', 'sky'), palette, 2)
    assert picture.shape[0] == 80
    assert picture.shape[1] > 120, 'a legend on the right'
    assert tuple(picture[20, 20]) == (70, 70, 70)
    assert tuple(picture[20, 100]) == (185, 70, 70)
    assert tuple(picture[70, 100]) == (128, 128, 128), 'what is no class is left as it is'
    other = draw_regions(GREY, labels, ('lawn', 'sky'), palette, 2)
    assert not np.array_equal(picture[:, 120:], other[:, 120:])


def test_a_legend_keeps_to_the_height_of_the_picture():
    labels = np.arange(40 * 60).reshape(40, 60) % 30
    picture = draw_regions(GREY, labels, [str(i) for i in range(30)], [(9, 9, 9)] * 30)
    assert picture.shape[0] == 40


def test_classes_stand_below_the_image_with_a_bar_each():
    picture = draw_classes(GREY, ['disc', 'square'], [0.75, 0.1], 4)
    assert picture.shape == (160 + 2 * 20, 240, 3)
    assert tuple(picture[160, 175]) == tuple(picture[180, 20])
    assert tuple(picture[160, 185]) == tuple(picture[180, 30]) == (30, 30, 30)


def test_large_pictures_get_thicker_lines():
    box = dict(bboxes=torch.tensor([[100.0, 100.0, 900.0, 900.0]]), labels=torch.tensor([0]))
    large = np.zeros((2400, 2400, 3), np.uint8)
    picture = draw_instances(large, InstanceData(**box), ('disc',), [(255, 0, 0)])
    assert 10 <= (picture[500, :500, 0] > 0).sum() <= 14


def test_the_best_instance_is_drawn_last_and_no_box_crosses_a_text():
    boxes = torch.tensor(
        [[20.0, 60.0, 100.0, 120.0], [20.0, 60.0, 100.0, 120.0], [40, 30, 60, 110]]
    )
    instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([1, 0, 0]), scores=torch.tensor([0.9, 0.5, 0.4])
    )
    palette = [(0, 0, 255), (255, 0, 0)]
    image = np.zeros((140, 140, 3), np.uint8)
    picture = draw_instances(image, instances, ('disc', 'square'), palette)
    assert tuple(picture[100, 20]) == (255, 0, 0)
    # The third box crosses the place of the first one's text, which is black or white on red.
    assert not (picture[48:58, 22:60] == (0, 0, 255)).all(axis=-1).any()
