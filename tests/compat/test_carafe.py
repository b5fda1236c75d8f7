"""CARAFE of mmcv, as mmcv calls the stand-in, against a loop over pixels."""

import numpy as np
import pytest
import torch
from mmcv.ops import carafe
from mmcv.ops.carafe import CARAFEPack

pytestmark = pytest.mark.usefixtures('stand_ins')

# kernel, groups, scale
SETTINGS = [(3, 1, 2), (5, 2, 1), (1, 4, 3), (5, 4, 2)]


def carafe_by_loop(features, masks, kernel, groups, scale):
    batch, channels, height, width = features.shape
    out = np.zeros((batch, channels, height * scale, width * scale))
    half = kernel // 2
    for n, c, y, x in np.ndindex(*out.shape):
        group = c // (channels // groups)
        for i, j in np.ndindex(kernel, kernel):
            row, column = y // scale + i - half, x // scale + j - half
            if 0 <= row < height and 0 <= column < width:
                weight = masks[n, (group * kernel + i) * kernel + j, y, x]
                out[n, c, y, x] += weight * features[n, c, row, column]
    return out


def make_inputs(kernel, groups, scale):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    shape = (2, groups * kernel**2, 3 * scale, 5 * scale)
    return features, torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('setting', SETTINGS, ids=str)
def test_output_is_that_of_the_loop(setting):
    features, masks = make_inputs(*setting)
    expected = carafe_by_loop(features.numpy(), masks.numpy(), *setting)
    torch.testing.assert_close(carafe(features, masks, *setting), torch.tensor(expected))


@pytest.mark.parametrize('setting', SETTINGS, ids=str)
def test_gradients(setting):
    inputs = [x.requires_grad_() for x in make_inputs(*setting)]
    assert torch.autograd.gradcheck(lambda *x: carafe(*x, *setting), inputs, fast_mode=True)


def test_a_layer_that_averages_enlarges_a_constant():
    layer = CARAFEPack(channels=4, scale_factor=2, up_kernel=3)
    out = layer(torch.full((1, 4, 6, 7), 3.0))
    assert out.shape == (1, 4, 12, 14)
    # Weights add up to 1 wherever no neighbour lies outside.
    torch.testing.assert_close(out[:, :, 2:-2, 2:-2], torch.full((1, 4, 8, 10), 3.0))
