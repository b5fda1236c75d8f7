import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmvmamba.visualization.panels import HEADER, TRACK, draw_classes, draw_legend, side_by_side
from mmvmamba.visualization.predictions import EDGE, _share, draw_instances, draw_regions

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
    assert both.shape == (40 + HEADER, 2 * (60 + 4), 3)
    assert both[40, 10, 0] == 128
    assert both[40, 75, 0] == 129


COLOURS = [(0, 0, 0), (255, 0, 0)]
HALVES = np.zeros((40, 60), int)
HALVES[:, 30:], HALVES[30:, 30:] = 1, 255


def test_regions_are_coloured():
    picture = draw_regions(GREY, HALVES, ('grass', 'sky'), COLOURS, 2, opacity=0.5)
    assert picture.shape[0] == 80
    assert picture.shape[1] > 120, 'a legend on the right'
    assert tuple(picture[10, 10]) == (64, 64, 64)
    assert tuple(picture[10, 70]) == (192, 64, 64)
    assert tuple(picture[70, 100]) == (128, 128, 128), 'what is no class is left as it is'
    assert tuple(picture[10, 60]) == EDGE, 'where one class ends'


def test_the_legend_has_the_colours_of_the_picture_and_its_shares():
    picture = draw_regions(GREY, HALVES, ('grass', 'sky'), COLOURS, 4)
    legend = picture[:, 240:].reshape(-1, 3)
    for place in ((20, 20), (20, 150)):
        shade = picture[place]
        assert (abs(legend.astype(int) - shade).max(axis=1) <= 1).sum() > 100
    half = HALVES.copy()
    half[:, :40] = 0
    assert not np.array_equal(
        draw_regions(GREY, half, ('grass', 'sky'), COLOURS, 4)[:20, 240:], picture[:20, 240:]
    )


@pytest.mark.parametrize(
    ('part', 'text'), [(0.25, '25.0 %'), (0.0006, '0.1 %'), (0.0004, '< 0.1 %')]
)
def test_a_share_is_never_said_to_be_nothing(part, text):
    assert _share(part) == text


def test_a_coloured_image_does_not_change_the_hue_of_a_region():
    green = np.zeros((40, 60, 3), np.uint8)
    green[..., 1] = 200
    picture = draw_regions(green, HALVES, ('grass', 'sky'), COLOURS, 2)
    red, *others = picture[10, 70].astype(int)
    assert red > others[0] + 100
    assert others[0] == others[1], 'nothing of the green'


@pytest.mark.parametrize(('opacity', 'want'), [(0, (128, 128, 128)), (1, (255, 0, 0))])
def test_opacity_goes_from_the_image_to_the_colours(opacity, want):
    picture = draw_regions(GREY, HALVES, ('grass', 'sky'), COLOURS, 2, opacity)
    assert tuple(picture[10, 70]) == want


@pytest.mark.parametrize('opacity', [-0.1, 1.5])
def test_an_opacity_beyond_the_scale_is_refused(opacity):
    with pytest.raises(ValueError, match='opacity must be from 0 to 1'):
        draw_regions(GREY, HALVES, ('grass', 'sky'), COLOURS, 2, opacity)


def test_large_regions_carry_their_names_and_small_ones_do_not():
    labels = np.zeros((100, 200), int)
    labels[40:46, 90:96] = 1
    image = np.full((100, 200, 3), 128, np.uint8)
    pictures = [
        draw_regions(image, labels, names, COLOURS, 4)[:, :800]
        for names in (('grass', 'sky'), ('lawn', 'sky'), ('grass', 'air'))
    ]
    assert not np.array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize('count', [0, 3, 30, 200])
def test_a_legend_keeps_to_its_height(count):
    rows = [(f'class {i}', '1.0 %', (9, 200, 9)) for i in range(count)]
    legend = draw_legend(rows, 120, 13)
    assert legend.shape[0] == 120
    squares = (legend == (9, 200, 9)).all(axis=-1).sum() // 256
    # Columns of four rows, and the rest is counted in the last one.
    assert squares == min(count, 11)


def test_classes_stand_below_the_image_with_a_bar_each():
    picture = draw_classes(GREY, ['disc', 'square'], [0.75, 0.1], 4)
    size = 13
    assert picture.shape == (160 + 2 * 2 * size + size // 2, 240, 3)
    first, second = picture[167, 6:-6], picture[167 + 2 * size, 6:-6]
    colour = tuple(first[0])
    assert (first == colour).all(axis=-1).sum() == round(0.75 * 228)
    assert (second == colour).all(axis=-1).sum() == round(0.1 * 228)
    assert tuple(first[-1]) == TRACK


def test_a_true_class_is_named_and_coloured():
    pictures = [
        draw_classes(GREY, ['disc', 'square'], [0.75, 0.25], 4, truth)
        for truth in ('disc', 'square', 'triangle')
    ]
    best, second = ([tuple(p[196 + row, 10].tolist()) for p in pictures] for row in (0, 26))
    right, wrong, also_wrong = best
    assert right != wrong == also_wrong
    assert second[1] == right, 'the truth, in second place'
    assert second[2] == second[0] != right


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
