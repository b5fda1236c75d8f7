"""Scan orders against the official ones."""

import weakref
from pathlib import Path

import pytest
import torch

from mmvmamba.ops import tables
from mmvmamba.ops.scan_order import reversed_order, snake_orders
from mmvmamba.testing import GoldenCase

CASE = GoldenCase(Path(__file__).parents[1] / 'golden' / 'plain_mamba' / 'scan_orders')


@pytest.mark.parametrize('grid', CASE.spec['grids'], ids=str)
def test_snakes_and_their_moves_are_the_official_ones(grid):
    name = '{}x{}'.format(*grid)
    orders, moves = snake_orders(*grid)
    assert torch.equal(orders, torch.as_tensor(CASE.arrays[f'{name}.order']))
    assert torch.equal(moves, torch.as_tensor(CASE.arrays[f'{name}.direction']))
    assert torch.equal(orders.argsort(), torch.as_tensor(CASE.arrays[f'{name}.inverse']))


def test_reversed_order_goes_both_ways():
    assert reversed_order(3).tolist() == [[0, 1, 2], [2, 1, 0]]


def test_tables_made_in_inference_mode_serve_training():
    snake_orders.cache_clear()
    reversed_order.cache_clear()
    with torch.inference_mode():
        orders, moves = snake_orders(3, 5)
        assert not any(table.is_inference() for table in (orders, moves, reversed_order(7)))


def test_a_table_that_a_graph_reads_outlives_those_that_came_later(monkeypatch):
    @tables.cached_table(maxsize=1)
    def numbers(count):
        return torch.arange(count)

    def is_gone_after(count, is_read_by_graph):
        table = weakref.ref(numbers(count))
        monkeypatch.setattr(tables, 'is_capturing', lambda: is_read_by_graph)
        numbers(count)
        monkeypatch.setattr(tables, 'is_capturing', lambda: False)
        numbers(1)
        return table() is None

    assert is_gone_after(3, is_read_by_graph=False)
    assert not is_gone_after(4, is_read_by_graph=True)
