"""RoIAlign of mmcv, as mmcv calls the stand-in, against a loop over samples."""

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign, roi_align

SETTINGS = [
    pytest.param(*setting, id='ratio{}-aligned{}-scale{}'.format(*setting))
    for setting in [(2, True, 0.5), (2, False, 0.5), (0, True, 1.0), (3, False, 0.25)]
]


def sample(image, y, x):
    """Bilinear value of (channels, height, width) at a point; zero far outside."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(image))
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, h = y - top, x - left
    upper = image[:, top, left] * (1 - h) + image[:, top, right] * h
    lower = image[:, bottom, left] * (1 - h) + image[:, bottom, right] * h
    return upper * (1 - v) + lower * v


def roi_align_by_loop(maps, rois, size, scale, ratio, aligned):
    out = np.zeros((len(rois), maps.shape[1], *size))
    for number, (batch, *corners) in enumerate(rois):
        x1, y1, x2, y2 = np.array(corners) * scale - (0.5 if aligned else 0)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        cell = height / size[0], width / size[1]
        count = [ratio or int(np.ceil(length)) for length in cell]
        for row, column in np.ndindex(*size):
            values = [
                sample(
                    maps[int(batch)],
                    y1 + (row + (i + 0.5) / count[0]) * cell[0],
                    x1 + (column + (j + 0.5) / count[1]) * cell[1],
                )
                for i, j in np.ndindex(*count)
            ]
            out[number, :, row, column] = np.mean(values, axis=0)
    return out


def make_inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 9, 11, generator=generator, dtype=dtype)
    rois = torch.tensor(
        [[0, 1.3, 2.1, 9.0, 8.2], [1, -3.0, 0.0, 20.0, 16.0], [1, 4.0, 4.0, 4.5, 4.2]], dtype=dtype
    )
    return maps, rois


@pytest.mark.parametrize('ratio,aligned,scale', SETTINGS)
def test_output_is_that_of_the_loop(ratio, aligned, scale):
    maps, rois = make_inputs()
    got = roi_align(maps, rois, (3, 2), scale, ratio, 'avg', aligned)
    expected = roi_align_by_loop(maps.numpy(), rois.numpy(), (3, 2), scale, ratio, aligned)
    torch.testing.assert_close(got, torch.tensor(expected))


@pytest.mark.parametrize('ratio,aligned,scale', SETTINGS)
def test_gradient(ratio, aligned, scale):
    maps, rois = make_inputs()
    maps.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (3, 2), scale, ratio, 'avg', aligned), (maps,)
    )


def test_no_rois():
    maps, rois = make_inputs()
    maps.requires_grad_()
    out = RoIAlign(3, 0.5, 2)(maps, rois[:0])
    assert out.shape == (0, 3, 3, 3)
    out.sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


def test_bfloat16_is_computed_in_float32():
    maps, rois = make_inputs(torch.float32)
    half = maps.bfloat16().requires_grad_()
    out = roi_align(half, rois.bfloat16(), 3, 0.5, 2, 'avg', True)
    single = half.detach().float().requires_grad_()
    full = roi_align(single, rois.bfloat16().float(), 3, 0.5, 2, 'avg', True)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, full.bfloat16())
    out.sum().backward()
    assert half.grad.dtype == torch.bfloat16
    full.sum().backward()
    assert torch.equal(half.grad, single.grad.bfloat16())


def test_maximum_pooling_is_refused():
    maps, rois = make_inputs()
    with pytest.raises(NotImplementedError, match=r"'roi_align' with pool_mode='max'.*mmcv"):
        roi_align(maps, rois, 3, 0.5, 2, 'max', True)
