"""PSANet's masks of mmcv, as mmcv calls the stand-in, against a loop over pairs of pixels."""

import numpy as np
import pytest
import torch
from mmcv import _ext
from mmcv.ops import PSAMask

pytestmark = pytest.mark.usefixtures('stand_ins')

# Maps (height, width) and windows; larger and smaller than the map, of even and odd edges.
SIZES = [((3, 4), (5, 7)), ((4, 3), (3, 3)), ((5, 2), (4, 2)), ((1, 1), (1, 1))]


def psa_by_loop(masks, kind, window):
    batch, _, height, width = masks.shape
    out = np.zeros((batch, height * width, height, width))
    half = [(edge - 1) // 2 for edge in window]
    for n, h, w, i, j in np.ndindex(batch, height, width, *window):
        y, x = h + i - half[0], w + j - half[1]
        if 0 <= y < height and 0 <= x < width:
            value = masks[n, i * window[1] + j, h, w]
            if kind == 'collect':
                out[n, y * width + x, h, w] = value
            else:
                out[n, h * width + w, y, x] = value
    return out


def make_input(size, window):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, window[0] * window[1], *size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('size,window', SIZES, ids=str)
def test_output_is_that_of_the_loop(size, window, kind):
    x = make_input(size, window)
    expected = psa_by_loop(x.numpy(), kind, window)
    assert torch.equal(PSAMask(kind, window)(x), torch.tensor(expected))


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('size,window', SIZES, ids=str)
def test_gradient(size, window, kind):
    x = make_input(size, window).requires_grad_()
    assert torch.autograd.gradcheck(PSAMask(kind, window), (x,), fast_mode=True)


def test_other_kinds_are_refused():
    x = torch.ones(1, 1, 1, 1)
    sizes = dict(num_=1, h_feature=1, w_feature=1, h_mask=1, w_mask=1, half_h_mask=0, half_w_mask=0)
    with pytest.raises(ValueError, match=r'psa_type must be 0 \(collect\) or 1 .*, got 2'):
        _ext.psamask_forward(x, x.clone(), psa_type=2, **sizes)
