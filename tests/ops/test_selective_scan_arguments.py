"""Bad input is answered with the argument's name, what is allowed and what came."""

import re

import pytest
import torch

from mmvmamba.ops.selective_scan import arguments, selective_scan
from tests.ops.scan_inputs import make_scan_inputs


def scan(inputs, **options):
    return selective_scan(**inputs, channels_last=True, **options)


@pytest.fixture
def inputs():
    return make_scan_inputs(2, 5, 6, 4)


@pytest.mark.parametrize(
    ('name', 'shape', 'message'),
    [
        ('u', (2, 3, 5, 6), 'u must have 3 dimensions (channels-last), got (2, 3, 5, 6)'),
        (
            'delta', (2, 5, 7),
            'delta must have shape (batch=2, length=5, dim=6), got (2, 5, 7)',
        ),
        ('A', (6,), 'A must be (dim, state), got (6,)'),
        ('A', (7, 4), 'A must have shape (dim=6, state=4), got (7, 4)'),
        (
            'B', (2, 5, 3),
            'B must have shape (batch=2, length=5, state=4) or '
            '(batch=2, length=5, groups, state=4), got (2, 5, 3)',
        ),
        ('C', (2, 4, 4), 'C must have shape (batch=2, length=5, state=4) or'),
        ('B', (2, 5, 4, 4), 'the groups of B must divide dim = 6, got 4 groups'),
        ('C', (2, 5, 2, 4), 'C must have the groups of B, 1, got 2 groups'),
        ('D', (1, 6), 'D must have shape (dim=6), got (1, 6)'),
        ('z', (2, 6, 5), 'z must have shape (batch=2, length=5, dim=6), got (2, 6, 5)'),
        ('delta_bias', (5,), 'delta_bias must have shape (dim=6), got (5,)'),
        ('u', (2, 0, 6), 'u must have no empty length, dim or state, got (2, 0, 6)'),
        ('A', (6, 0), 'A must have no empty length, dim or state, got (6, 0)'),
    ],
)  # fmt: skip
def test_shapes(inputs, name, shape, message):
    inputs[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=re.escape(message)):
        scan(inputs)


def test_channels_first_shapes_are_named_in_their_order(inputs):
    message = 'delta must have shape (batch=2, dim=5, length=6), got (2, 6, 5)'
    inputs['delta'] = inputs['delta'].transpose(1, 2)
    inputs['A'] = torch.zeros(5, 4)
    with pytest.raises(ValueError, match=re.escape(message)):
        selective_scan(**inputs)


def test_shapes_with_orders(inputs):
    inputs['orders'] = torch.arange(5).expand(3, -1)
    inputs['delta'] = torch.zeros(2, 2, 5, 6)
    message = (
        'delta must have shape (batch=2, length=5, dim=6) or '
        '(batch=2, directions=3, length=5, dim=6), got (2, 2, 5, 6)'
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        scan(inputs)


@pytest.mark.parametrize('name', ['u', 'delta', 'A', 'B', 'C', 'D', 'z', 'delta_bias'])
@pytest.mark.parametrize('dtype', [torch.int64, torch.complex64], ids=str)
def test_dtypes(inputs, name, dtype):
    inputs[name] = inputs[name].to(dtype)
    message = f'{name} must be a real floating-point tensor, got {dtype}'
    with pytest.raises(ValueError, match=message):
        scan(inputs)


@pytest.mark.parametrize('name', ['delta', 'A', 'B', 'C', 'D', 'z', 'delta_bias', 'orders'])
def test_mixed_devices(inputs, name):
    inputs['orders'] = torch.arange(5)[None]
    inputs[name] = inputs[name].to('meta')
    with pytest.raises(ValueError, match=f'{name} must be on the device of u, cpu, got meta'):
        scan(inputs)


@pytest.mark.parametrize('orders', [torch.arange(5), torch.zeros(1, 5)], ids=['1-D', 'float'])
def test_orders_are_an_integer_table(inputs, orders):
    with pytest.raises(ValueError, match=r'orders must be an int64 tensor \(directions, length\)'):
        scan(inputs, orders=orders)


def test_orders_have_the_length_of_the_sequence(inputs):
    message = 'orders must have shape (directions=2, length=5), got (2, 4)'
    with pytest.raises(ValueError, match=re.escape(message)):
        scan(inputs, orders=torch.arange(4).expand(2, -1))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_state_matrix_must_be_finite(inputs, value):
    inputs['A'][2, 1] = value
    with pytest.raises(ValueError, match='A must be finite, got 1 values that are not'):
        scan(inputs)


def test_orders_must_be_permutations_in_debug_mode(inputs, monkeypatch):
    orders = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 2, 4]])
    monkeypatch.setenv('MMVMAMBA_DEBUG', '1')
    message = r'orders must hold a permutation of 0\.\.4 in each row, got .* in row 1'
    with pytest.raises(ValueError, match=message):
        scan(inputs, orders=orders)
    scan(inputs, orders=orders[:1])


@pytest.mark.parametrize('token', [-1, 5])
def test_orders_never_reach_outside_of_the_sequence(inputs, token):
    orders = torch.tensor([[0, 1, 2, 3, token]])
    with pytest.raises(ValueError, match=r'orders must hold tokens 0\.\.4, got'):
        scan(inputs, orders=orders, backend='numba')


def test_unknown_backend(inputs):
    names = "'auto', 'triton', 'numba', 'mamba_ssm', 'hub', 'torch', 'export'"
    message = f"backend must be one of [{names}], got 'cuda'"
    with pytest.raises(ValueError, match=re.escape(message)):
        scan(inputs, backend='cuda')


def test_arguments_of_one_kind_are_checked_once(monkeypatch):
    checked = []
    monkeypatch.setattr(arguments, '_check', lambda *given: checked.append(given))
    monkeypatch.setattr(arguments, '_fitting', set())
    for length in (5, 5, 6, 5):
        scan(make_scan_inputs(1, length, 3, 2))
    assert len(checked) == 2


def test_arguments_that_do_not_fit_are_refused_again(inputs):
    inputs['A'] = inputs['A'][:, :3]
    for _ in range(2):
        with pytest.raises(ValueError, match='B must have shape'):
            scan(inputs)
