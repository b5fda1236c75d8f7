"""Which config a Triton kernel of the scan is launched with; no GPU is needed."""

import pytest
import torch

from mmvmamba.fake_gpu import fake_gpu
from mmvmamba.ops.selective_scan import triton as scan
from mmvmamba.ops.selective_scan import triton_plan as plans
from mmvmamba.ops.selective_scan.arguments import ScanArgs
from mmvmamba.ops.selective_scan.triton_plan import Config

CONFIGS = (Config(256, 8, 1), Config(512, 4, 1), Config(128, 8, 1))
FASTEST = Config(512, 4, 1)


@pytest.fixture(autouse=True)
def timed(monkeypatch):
    """What was timed; the second config is the fastest."""
    calls = []

    def milliseconds(run):
        calls.append(run())
        return 1.0 if calls[-1] == FASTEST else 2.0

    monkeypatch.setattr(plans, '_milliseconds', milliseconds)
    monkeypatch.setattr(scan, '_processors', lambda device: 132)
    monkeypatch.setattr(plans, '_tuned', {})
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    monkeypatch.delenv('MMVMAMBA_TUNE', raising=False)
    return calls


def chosen(batch, length=196, device='cuda'):
    """The config that a forward pass is launched with."""
    with fake_gpu():
        u = torch.empty(batch, 1, length, 384, device=device)
        matrix = torch.empty(batch, 1, length, 1, 16, device=device)
        args = ScanArgs(u, u, torch.empty(1, 384, 16, device=device), matrix, matrix)
        plan = scan._plan(args, batch, 64)
        return plans.run_tuned('forward', args, plan, 1, CONFIGS, lambda config: config)


def test_the_fastest_is_found_once_for_sizes_alike(timed):
    assert chosen(128) == chosen(128) == chosen(128, 200) == FASTEST
    assert timed == list(CONFIGS)


def test_a_graph_takes_what_was_tuned_before_and_times_nothing(timed, monkeypatch):
    chosen(128)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    assert chosen(128) == FASTEST
    assert chosen(4, 1024) == Config(128, 8, 1)
    assert len(timed) == len(CONFIGS)


@pytest.mark.parametrize('reason', ['variable', 'ranks', 'deterministic'])
def test_the_shipped_table_serves_where_nothing_may_be_timed(timed, monkeypatch, reason):
    chosen(128)
    if reason == 'variable':
        monkeypatch.setenv('MMVMAMBA_TUNE', '0')
    elif reason == 'deterministic':
        monkeypatch.setattr(torch, 'are_deterministic_algorithms_enabled', lambda: True)
    else:
        monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
        monkeypatch.setattr(torch.distributed, 'get_world_size', lambda: 2)
    # Not what this process alone found to be the fastest.
    assert chosen(128) == plans.SHIPPED['forward', True]
    assert chosen(4) == plans.SHIPPED['forward', False]
    assert len(timed) == len(CONFIGS)


def test_the_shipped_table_holds_configs_that_tuning_knows():
    known = {
        'forward': plans.FORWARD_CONFIGS,
        'narrow forward': plans.FORWARD_CONFIGS,
        'backward': plans.BACKWARD_CONFIGS,
        'single forward': plans.SINGLE_FORWARD_CONFIGS,
        'single backward': plans.SINGLE_BACKWARD_CONFIGS,
    }
    for (kernel, _), config in plans.SHIPPED.items():
        assert config in known[kernel]
    assert len(plans.SHIPPED) == 2 * len(known)


def test_the_cpu_takes_the_first(timed):
    assert chosen(128, device='cpu') == CONFIGS[0]
    assert timed == []


# Batch, directions, dim, state, width of a block: programs that share the blocks of a unit.
@pytest.mark.parametrize(
    'sizes,expected',
    [
        ((128, 1, 384, 16, 16), 8),  # two programs for each quarter, three blocks each
        ((128, 1, 320, 8, 32), 10),  # five would leave most quarters with a program that is alone
        ((1024, 1, 384, 16, 16), 1),
        ((1, 1, 384, 16, 16), 24),
    ],
)
def test_blocks_are_shared_so_that_no_quarter_works_longest_alone(sizes, expected):
    batch, directions, dim, _, width = sizes
    plan = plans.cut(batch * directions, 1, dim, 49, 64, width, 132 * plans.WARPS_PER_PROCESSOR)
    blocks = dim // width
    assert plans.split(plan, blocks, 1) == expected
    # Each owns a block, or its sums would stay unwritten.
    own = -(-blocks // expected)
    assert (expected - 1) * own < blocks <= expected * own


def test_the_interpreter_sees_programs_of_several_blocks():
    """Its case 'several blocks of one program'."""
    plan = plans.cut(8, 1, 37, 5, 64, 16, plans.WARPS_PER_PROCESSOR)
    assert plan.blocks == 3
    assert plans.split(plan, plan.blocks, 1) == 1


# 16 images of 1,024 tokens leave most of a GPU idle, as two fill it.
@pytest.mark.parametrize('rows,segments', [(1, 16), (16, 4), (24, 1), (64, 1)])
def test_long_sequences_are_cut_where_a_gpu_would_be_idle(rows, segments):
    plan = plans.cut(rows, 1, 384, 1024, 64, 16, 132 * plans.WARPS_PER_PROCESSOR)
    assert plan.segments == segments


# A second pass over a state of one number takes as much memory as the first.
@pytest.mark.parametrize('rows,segments', [(1, 16), (16, 1)])
def test_sequences_of_one_state_are_cut_where_most_of_a_gpu_would_be_idle(rows, segments):
    warps = 132 * plans.WARPS_PER_PROCESSOR
    plan = plans.cut(rows, 1, 384, 1024, 64, 16, warps, is_single=True)
    assert plan.segments == segments
