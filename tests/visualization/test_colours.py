import numpy as np
import pytest

from mmvmamba.visualization.colours import (
    DISTINCT,
    class_colours,
    distinct_colours,
    ink_on,
    nearest_distance,
    oklab,
)

# Three of these are greens that nobody can tell apart.
GREENS = [(0, 128, 0), (0, 120, 0), (10, 130, 10)]
CLEAR = [(200, 30, 30), (30, 30, 200), (30, 200, 30)]


def test_oklab_has_the_published_values():
    # From the page that defines the space: white, and the pure red of sRGB.
    assert np.allclose(oklab([(255, 255, 255)]), [[1, 0, 0]], atol=1e-3)
    assert np.allclose(oklab([(255, 0, 0)]), [[0.628, 0.225, 0.126]], atol=1e-3)


@pytest.mark.parametrize(('count', 'least'), [(2, 0.3), (5, 0.25), (20, 0.1), (150, 0.04)])
def test_colours_keep_their_distance(count, least):
    colours = distinct_colours(count)
    assert len(colours) == count
    assert nearest_distance(colours) > least


def test_more_colours_leave_the_first_ones_alone():
    assert distinct_colours(40)[:5] == distinct_colours(5)


def test_there_is_a_colour_for_each_of_many_classes():
    assert len(set(distinct_colours(1000))) == 1000
    assert len(distinct_colours(5000)) == 5000
    assert distinct_colours(0) == ()


def test_a_clear_palette_is_kept_and_a_muddy_one_is_not():
    assert class_colours(CLEAR, 3) == CLEAR
    assert nearest_distance(GREENS) < DISTINCT
    assert class_colours(GREENS, 3) == distinct_colours(3)


@pytest.mark.parametrize('palette', [None, 'random', CLEAR])
def test_a_palette_that_has_too_few_colours_is_replaced(palette):
    assert class_colours(palette, 4) == distinct_colours(4)


def test_ink_can_be_read():
    assert ink_on((255, 255, 0)) == (0, 0, 0)
    assert ink_on((0, 0, 160)) == (255, 255, 255)
