"""RoIPool of mmcv, as mmcv calls the stand-in, against a loop over pixels."""

import math

import numpy as np
import pytest
import torch
from mmcv.ops import roi_pool

pytestmark = pytest.mark.usefixtures('stand_ins')


def pool_by_loop(maps, rois, size, scale):
    """Every pixel is compared that touches a cell."""
    out = np.zeros((len(rois), maps.shape[1], *size))
    for n, (batch, *corners) in enumerate(rois):
        x1, y1 = (value * scale for value in corners[:2])
        x2, y2 = ((value + 1) * scale for value in corners[2:])
        if x2 <= x1 or y2 <= y1:
            continue
        for c, i, j in np.ndindex(*out.shape[1:]):
            top, bottom = (y1 + (i + step) * (y2 - y1) / size[0] for step in (0, 1))
            left, right = (x1 + (j + step) * (x2 - x1) / size[1] for step in (0, 1))
            values = [
                maps[int(batch), c, y, x]
                for y, x in np.ndindex(*maps.shape[2:])
                if math.floor(top) <= y < math.ceil(bottom)
                and math.floor(left) <= x < math.ceil(right)
            ]
            out[n, c, i, j] = max(values, default=0)
    return out


def make_inputs():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 7, 9, generator=generator, dtype=torch.float64)
    rois = torch.tensor(
        [
            [0, 1.3, 2.1, 9.0, 8.2],
            [1, -6.0, 0.0, 30.0, 16.0],
            [1, 4.0, 4.0, 4.5, 4.2],
            [0, 5.0, 5.0, 2.0, 9.0],
        ],
        dtype=torch.float64,
    )
    return maps, rois


@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_output_is_that_of_the_loop(scale):
    maps, rois = make_inputs()
    got = roi_pool(maps, rois, (3, 2), scale)
    expected = pool_by_loop(maps.numpy(), rois.numpy(), (3, 2), scale)
    assert torch.equal(got, torch.tensor(expected))
    assert not got[3].any()


@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_gradient(scale):
    maps, rois = make_inputs()
    maps.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: roi_pool(x, rois, (3, 2), scale), (maps,))
