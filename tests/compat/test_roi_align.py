"""RoIAlign of mmcv, as mmcv calls the stand-in, against a loop over samples."""

import numpy as np
import pytest
import torch
import torchvision
from mmcv.ops import RoIAlign, roi_align

pytestmark = pytest.mark.usefixtures('stand_ins')

SETTINGS = [
    pytest.param(*setting, id='ratio{}-aligned{}-scale{}'.format(*setting))
    for setting in [(2, True, 0.5), (2, False, 0.5), (0, True, 1.0), (3, False, 0.25)]
]
BOTH = pytest.mark.parametrize('mode', ['avg', 'max'])


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


def roi_align_by_loop(maps, rois, size, scale, ratio, aligned, pool=np.mean):
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
            out[number, :, row, column] = pool(values, axis=0)
    return out


def make_inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 9, 11, generator=generator, dtype=dtype)
    rois = torch.tensor(
        [[0, 1.3, 2.1, 9.0, 8.2], [1, -3.0, 0.0, 20.0, 16.0], [1, 4.0, 4.0, 4.5, 4.2]], dtype=dtype
    )
    return maps, rois


@BOTH
@pytest.mark.parametrize('ratio,aligned,scale', SETTINGS)
def test_output_is_that_of_the_loop(ratio, aligned, scale, mode):
    maps, rois = make_inputs()
    got = roi_align(maps, rois, (3, 2), scale, ratio, mode, aligned)
    pool = dict(avg=np.mean, max=np.max)[mode]
    expected = roi_align_by_loop(maps.numpy(), rois.numpy(), (3, 2), scale, ratio, aligned, pool)
    torch.testing.assert_close(got, torch.tensor(expected))


@BOTH
@pytest.mark.parametrize('ratio,aligned,scale', SETTINGS)
def test_gradient(ratio, aligned, scale, mode):
    maps, rois = make_inputs()
    maps.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (3, 2), scale, ratio, mode, aligned), (maps,)
    )


@BOTH
def test_no_rois(mode):
    maps, rois = make_inputs()
    maps.requires_grad_()
    out = RoIAlign(3, 0.5, 2, mode)(maps, rois[:0])
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


def test_the_maximum_of_a_cell_without_samples_is_zero():
    maps, rois = make_inputs()
    rois[2, 3:] = rois[2, 1:3]
    maps.requires_grad_()
    out = roi_align(maps, rois[2:], 3, 0.5, 0, 'max', True)
    out.sum().backward()
    assert not out.any() and not maps.grad.any()


def boxes_of_every_kind(dtype):
    """Inside, outside, beyond the edges, empty, turned over, in no order of the images."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(60, 2, generator=generator, dtype=dtype) * 40 - 12
    size = torch.rand(60, 2, generator=generator, dtype=dtype) * 30
    size[:6] = 0
    size[6:12] *= -1
    corner[12:18] += 100
    corner[18:22] = corner[18:22].round()
    image = torch.randint(0, 2, (60, 1), generator=generator).to(dtype)
    return torch.cat([image, corner, corner + size], dim=1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('ratio,aligned,scale', SETTINGS)
def test_equal_to_torchvision(ratio, aligned, scale, dtype):
    maps = make_inputs(dtype)[0]
    rois = boxes_of_every_kind(dtype)
    results = []
    for run in (
        lambda x: roi_align(x, rois, (3, 2), scale, ratio, 'avg', aligned),
        lambda x: torchvision.ops.roi_align(x, rois, (3, 2), scale, ratio, aligned),
    ):
        leaf = maps.clone().requires_grad_()
        out = run(leaf)
        weights = torch.linspace(-1, 1, out.numel(), dtype=dtype).view_as(out)
        (out * weights).sum().backward()
        results.append((out.detach(), leaf.grad))
    (out, grad), (expected, expected_grad) = results
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        grad, expected_grad, rtol=1e-5, atol=2e-5 if grad.dtype == torch.float32 else 1e-12
    )


@BOTH
def test_float16_is_computed_in_float32(mode):
    maps, rois = make_inputs(torch.float32)
    out = roi_align(maps.half(), rois.half(), 3, 0.5, 2, mode, True)
    full = roi_align(maps.half().float(), rois.half().float(), 3, 0.5, 2, mode, True)
    assert torch.equal(out, full.half())


def test_the_number_of_threads_changes_nothing():
    maps, rois = make_inputs(torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            leaf = maps.clone().requires_grad_()
            out = roi_align(leaf, rois, 3, 0.5, 0, 'avg', True)
            out.square().sum().backward()
            results.append((out.detach(), leaf.grad))
    finally:
        torch.set_num_threads(before)
    for out, grad in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(grad, results[0][1])


@BOTH
@pytest.mark.parametrize('image', [-1, 2])
def test_a_box_of_an_image_that_is_not_there_is_refused(image, mode):
    maps, rois = make_inputs()
    rois[1, 0] = image
    with pytest.raises(ValueError, match=r'rois must name images 0\.\.1 of the batch.*got'):
        roi_align(maps, rois, 3, 0.5, 2, mode, True)


@BOTH
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_box_that_is_not_finite_gives_nan_and_no_gradient(value, mode):
    maps, rois = make_inputs()
    rois[1, 3] = value
    maps.requires_grad_()
    out = roi_align(maps, rois, 3, 0.5, 0, mode, True)
    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()
    out[1].sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


def test_channels_last_memory_is_the_same():
    maps, rois = make_inputs()
    expected = roi_align(maps, rois, 3, 0.5, 2, 'avg', True)
    other = maps.contiguous(memory_format=torch.channels_last)
    assert torch.equal(roi_align(other, rois, 3, 0.5, 2, 'avg', True), expected)


def test_torchvision_serves_where_numba_is_absent(monkeypatch):
    from mmvmamba.ops.roi_align import numba

    monkeypatch.setattr(numba, 'has_numba', lambda: False)
    maps, rois = make_inputs()
    expected = torchvision.ops.roi_align(maps, rois, 3, 0.5, 2, True)
    assert torch.equal(roi_align(maps, rois, 3, 0.5, 2, 'avg', True), expected)
