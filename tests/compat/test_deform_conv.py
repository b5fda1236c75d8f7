"""Deformable convolutions of mmcv, as mmcv calls the stand-in, against a loop over samples."""

import numpy as np
import pytest
import torch
from mmcv.ops import deform_conv2d, modulated_deform_conv2d

from mmvmamba.compat import mmcv_ops

pytestmark = pytest.mark.usefixtures('stand_ins')

# stride, padding, dilation, groups, deformable groups
GEOMETRIES = [
    (1, 1, 1, 1, 1),
    ((2, 1), (0, 2), (1, 2), 2, 1),
    (1, 1, 1, 1, 2),
    (2, 1, 1, 2, 2),
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def sample(plane, y, x):
    """Bilinear value of a plane that is zero outside."""
    value = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                value += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def deform_conv_by_loop(x, offset, mask, weight, stride, padding, dilation, groups, deform):
    (sy, sx), (py, px), (dy, dx) = pair(stride), pair(padding), pair(dilation)
    kernel = weight.shape[2:]
    places = kernel[0] * kernel[1]
    out = np.zeros((len(x), len(weight), *offset.shape[2:]))
    for n, o, row, column in np.ndindex(*out.shape):
        group = o // (len(weight) // groups)
        for c in range(weight.shape[1]):
            channel = group * weight.shape[1] + c
            field = channel // (x.shape[1] // deform)
            for k, (i, j) in enumerate(np.ndindex(*kernel)):
                shift = offset[n, 2 * (field * places + k) :][:2, row, column]
                y = row * sy - py + i * dy + shift[0]
                z = column * sx - px + j * dx + shift[1]
                scale = 1 if mask is None else mask[n, field * places + k, row, column]
                out[n, o, row, column] += weight[o, c, i, j] * scale * sample(x[n, channel], y, z)
    return out


def make_inputs(stride, padding, dilation, groups, deform, batch=2):
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    kernel, size = (2, 3), (5, 6)
    out = [
        (size[d] + 2 * pair(padding)[d] - pair(dilation)[d] * (kernel[d] - 1) - 1)
        // pair(stride)[d]
        + 1
        for d in (0, 1)
    ]
    fields = deform * kernel[0] * kernel[1]
    return dict(
        x=rand(batch, 4, *size),
        offset=rand(batch, 2 * fields, *out),
        mask=rand(batch, fields, *out).sigmoid(),
        weight=rand(4, 4 // groups, *kernel),
        bias=rand(4),
    )


@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
def test_outputs_are_those_of_the_loop(geometry):
    inputs = make_inputs(*geometry)
    x, offset, mask, weight, bias = (inputs[k] for k in ('x', 'offset', 'mask', 'weight', 'bias'))
    arrays = [t.numpy() for t in (x, offset, mask, weight)]
    plain = deform_conv_by_loop(*arrays[:2], None, arrays[3], *geometry)
    torch.testing.assert_close(deform_conv2d(x, offset, weight, *geometry), torch.tensor(plain))
    modulated = deform_conv_by_loop(*arrays, *geometry) + bias.numpy()[:, None, None]
    got = modulated_deform_conv2d(x, offset, mask, weight, bias, *geometry)
    torch.testing.assert_close(got, torch.tensor(modulated))
    without_bias = modulated_deform_conv2d(x, offset, mask, weight, None, *geometry)
    torch.testing.assert_close(without_bias, got - bias[:, None, None])


@pytest.mark.parametrize('geometry', GEOMETRIES[1:], ids=str)
def test_gradients(geometry):
    inputs = {k: v.requires_grad_() for k, v in make_inputs(*geometry, batch=1).items()}
    x, offset, mask, weight, bias = (inputs[k] for k in ('x', 'offset', 'mask', 'weight', 'bias'))
    assert torch.autograd.gradcheck(
        lambda *t: deform_conv2d(*t, *geometry), (x, offset, weight), fast_mode=True
    )
    assert torch.autograd.gradcheck(
        lambda *t: modulated_deform_conv2d(*t, *geometry),
        (x, offset, mask, weight, bias),
        fast_mode=True,
    )


def test_no_images():
    geometry = (1, 1, 1, 1, 1)
    x, offset, mask, weight, bias = make_inputs(*geometry, batch=0).values()
    out = torch.full((0, 4, 6, 6), 7.0)
    sizes = dict(kernel_h=2, kernel_w=3, stride_h=1, stride_w=1, pad_h=1, pad_w=1)
    sizes |= dict(dilation_h=1, dilation_w=1, group=1, deformable_group=1, with_bias=True)
    none = x.new_empty(0)
    # The wrappers of mmcv refuse an empty batch themselves.
    mmcv_ops.modulated_deform_conv_forward(x, weight, bias, none, offset, mask, out, none, **sizes)
    grads = [torch.ones_like(t) for t in (x, weight, bias, offset, mask)]
    mmcv_ops.modulated_deform_conv_backward(
        x, weight, bias, none, offset, mask, none, *grads, out, **sizes
    )
    assert torch.equal(grads[1], torch.zeros_like(weight))
    assert torch.equal(grads[2], torch.zeros_like(bias))


def test_geometry_of_other_names_is_refused():
    x, offset, _, weight, _ = make_inputs(*GEOMETRIES[0]).values()
    none = x.new_empty(0)
    with pytest.raises(TypeError, match='kernel_h'):
        mmcv_ops.deform_conv_forward(x, weight, offset, none, none, none, kernel_h=2)


@pytest.mark.parametrize('modulated', [False, True])
def test_samples_on_the_border_have_no_gradient(modulated):
    """A whole step to the outside: the derivative is not defined, and mmcv's operator gives 0."""
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    weight = torch.ones(1, 1, 1, 1)
    for axis in range(2):
        offset = torch.zeros(1, 2, 3, 3)
        offset[0, axis] = -1
        offset.requires_grad_()
        if modulated:
            mask = torch.ones(1, 1, 3, 3)
            out = modulated_deform_conv2d(x, offset, mask, weight, None, 1, 0, 1, 1, 1)
        else:
            out = deform_conv2d(x, offset, weight, 1, 0, 1, 1, 1)
        out.sum().backward()
        first, others = offset.grad[0].split([1, 2], dim=1 + axis)
        assert not first.any()
        assert (others[axis] == (3 if axis == 0 else 1)).all()


def test_larger_offsets_are_read_by_the_size_of_the_output():
    """As DyHead has it: offsets of one level for the convolution of the next, with a stride."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*s, generator=generator) for s in ((2, 3, 6, 6), (4, 3, 3, 3)))
    offset, mask = (torch.randn(2, c, 6, 6, generator=generator) for c in (18, 9))
    offset.requires_grad_()
    mask.requires_grad_()
    out = modulated_deform_conv2d(x, offset, mask, weight, None, 2, 1, 1, 1, 1)
    read = [
        field.detach().flatten(1)[:, : c * 9].reshape(2, c, 3, 3).requires_grad_()
        for field, c in ((offset, 18), (mask, 9))
    ]
    expected = modulated_deform_conv2d(x, *read, weight, None, 2, 1, 1, 1, 1)
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    for got, want in zip((offset, mask), read, strict=True):
        flat, count = got.grad.flatten(1), want[0].numel()
        assert torch.equal(flat[:, :count], want.grad.flatten(1))
        assert not flat[:, count:].any()


def test_offsets_smaller_than_the_output_are_refused():
    x, weight = torch.ones(1, 1, 6, 6), torch.ones(1, 1, 1, 1)
    with pytest.raises(
        ValueError, match=r'at least as large as the output, \(6, 6\), got \(3, 3\)'
    ):
        modulated_deform_conv2d(
            x, torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 3, 3), weight, None, 1, 0, 1, 1, 1
        )
