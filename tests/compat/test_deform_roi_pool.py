"""Deformable RoI pooling of mmcv, as mmcv calls the stand-in, against a loop over samples."""

import numpy as np
import pytest
import torch
from mmcv.ops import DeformRoIPoolPack, ModulatedDeformRoIPoolPack, deform_roi_pool, roi_align

from tests.compat.test_roi_align import sample

pytestmark = pytest.mark.usefixtures('stand_ins')

# samples per cell and axis, scale, gamma
SETTINGS = [(2, 0.5, 0.1), (0, 1.0, 0.3), (3, 0.25, 1.0)]
SIZE = 3, 2


def pool_by_loop(maps, rois, offset, ratio, scale, gamma):
    out = np.zeros((len(rois), maps.shape[1], *SIZE))
    for n, (batch, *corners) in enumerate(rois):
        x1, y1, x2, y2 = np.array(corners) * scale - 0.5
        width, height = x2 - x1, y2 - y1
        cell = height / SIZE[0], width / SIZE[1]
        count = [ratio or int(np.ceil(length)) for length in cell]
        for row, column in np.ndindex(*SIZE):
            dx, dy = (0, 0) if offset is None else gamma * offset[n, :, row, column]
            values = [
                sample(
                    maps[int(batch)],
                    y1 + dy * height + (row + (i + 0.5) / count[0]) * cell[0],
                    x1 + dx * width + (column + (j + 0.5) / count[1]) * cell[1],
                )
                for i, j in np.ndindex(*count)
            ]
            out[n, :, row, column] = np.mean(values, axis=0)
    return out


def make_inputs():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 9, 11, generator=generator, dtype=torch.float64)
    rois = torch.tensor(
        [[0, 1.3, 2.1, 9.0, 8.2], [1, -3.0, 0.0, 20.0, 16.0], [1, 4.0, 4.0, 4.5, 4.2]],
        dtype=torch.float64,
    )
    return maps, rois, torch.randn(3, 2, *SIZE, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('moved', [False, True])
@pytest.mark.parametrize('ratio,scale,gamma', SETTINGS)
def test_output_is_that_of_the_loop(ratio, scale, gamma, moved):
    maps, rois, offset = make_inputs()
    offset = offset if moved else None
    got = deform_roi_pool(maps, rois, offset, SIZE, scale, ratio, gamma)
    arrays = [None if x is None else x.numpy() for x in (maps, rois, offset)]
    torch.testing.assert_close(got, torch.tensor(pool_by_loop(*arrays, ratio, scale, gamma)))


@pytest.mark.parametrize('ratio,scale,gamma', SETTINGS)
def test_gradients(ratio, scale, gamma):
    maps, rois, offset = make_inputs()
    maps.requires_grad_()
    offset.requires_grad_()
    settings = SIZE, scale, ratio, gamma
    assert torch.autograd.gradcheck(
        lambda x, moved: deform_roi_pool(x, rois, moved, *settings), (maps, offset)
    )
    assert torch.autograd.gradcheck(lambda x: deform_roi_pool(x, rois, None, *settings), (maps,))


def test_no_boxes_and_boxes_without_area():
    maps, rois, _ = make_inputs()
    maps.requires_grad_()
    rois[0, 3:] = rois[0, 1:3]
    rois[1, 3] = rois[1, 1] - 4
    out = deform_roi_pool(maps, rois[:2], None, SIZE, 1.0, 0)
    out.sum().backward()
    assert not out.any()
    assert not maps.grad.any()
    none = deform_roi_pool(maps, rois[:0], None, SIZE, 1.0, 0)
    none.sum().backward()
    assert none.shape == (0, 3, *SIZE)


@pytest.mark.parametrize('kind', [DeformRoIPoolPack, ModulatedDeformRoIPoolPack])
def test_layers_start_as_roi_align(kind):
    maps, rois, _ = make_inputs()
    maps, rois = maps.float(), rois.float()
    layer = kind(SIZE, output_channels=3, deform_fc_channels=8, sampling_ratio=2)
    out = layer(maps, rois)
    aligned = roi_align(maps, rois, SIZE, 1.0, 2, 'avg', True)
    # The factor of the modulated form starts at sigmoid(0).
    scale = 0.5 if kind is ModulatedDeformRoIPoolPack else 1.0
    torch.testing.assert_close(out, aligned * scale)
    out.square().sum().backward()
    assert layer.offset_fc[-1].bias.grad.abs().min() > 0
