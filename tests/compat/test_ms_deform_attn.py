"""Multi-scale deformable attention as mmcv calls the stand-in, against a loop over samples."""

import numpy as np
import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

pytestmark = pytest.mark.usefixtures('stand_ins')

SHAPES = [(4, 5), (2, 3)]


def make_inputs(batch=2, queries=3, heads=2, channels=3, points=2):
    generator = torch.Generator().manual_seed(0)
    tokens = sum(height * width for height, width in SHAPES)
    value = torch.randn(batch, tokens, heads, channels, generator=generator, dtype=torch.float64)
    size = (batch, queries, heads, len(SHAPES), points)
    locations = torch.rand(*size, 2, generator=generator, dtype=torch.float64) * 1.4 - 0.2
    weights = torch.rand(*size, generator=generator, dtype=torch.float64)
    return value, locations, weights


def call(value, locations, weights):
    shapes = torch.tensor(SHAPES)
    starts = torch.tensor([0, SHAPES[0][0] * SHAPES[0][1]])
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)


def sample(plane, y, x):
    """Bilinear value of (height, width, channels) that is zero outside."""
    value = np.zeros(plane.shape[2])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                value += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def attention_by_loop(value, locations, weights):
    batch, queries, heads, levels, points = weights.shape
    out = np.zeros((batch, queries, heads, value.shape[3]))
    for n, q, m, level, p in np.ndindex(batch, queries, heads, levels, points):
        height, width = SHAPES[level]
        start = sum(h * w for h, w in SHAPES[:level])
        plane = value[n, start : start + height * width, m].reshape(height, width, -1)
        x, y = locations[n, q, m, level, p]
        taken = sample(plane, y * height - 0.5, x * width - 0.5)
        out[n, q, m] += weights[n, q, m, level, p] * taken
    return out.reshape(batch, queries, -1)


def test_output_is_that_of_the_loop():
    inputs = make_inputs()
    expected = attention_by_loop(*(t.numpy() for t in inputs))
    torch.testing.assert_close(call(*inputs), torch.tensor(expected))


def test_gradients():
    inputs = [t.requires_grad_() for t in make_inputs(batch=1, queries=2)]
    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize('empty', [dict(batch=0), dict(queries=0)], ids=str)
def test_nothing_to_attend(empty):
    value, locations, weights = (t.requires_grad_() for t in make_inputs(**empty))
    out = call(value, locations, weights)
    assert out.shape == (len(value), locations.size(1), 6)
    out.sum().backward()
    assert torch.equal(value.grad, torch.zeros_like(value))
