"""What a GPU would be made to wait for in a forward or backward pass: nothing."""

import pytest
import torch

from mmvmamba.fake_gpu import OperatorLog, fake_autocast, fake_gpu, move_to_fake_gpu
from mmvmamba.models.adapters.modules import MSDeformAttention
from mmvmamba.ops.ms_deform_attn import triton as deform_attn
from mmvmamba.ops.tables import table_of
from tests.models.test_backbone_contract import NAMES, build

NOT_FOR_GPU = 'copies from the host, for which a GPU waits'


def faults(log):
    return [x for x in log.operators if x.waits or x.copies_between_devices]


def forward(model, training):
    """The log of a forward pass on a GPU that is not there."""
    with fake_gpu():
        move_to_fake_gpu(model).train(training)
        image = torch.empty(2, 3, 64, 96, device='cuda')
        with torch.set_grad_enabled(training), fake_autocast(), OperatorLog() as log:
            model(image)
    return log


@pytest.mark.parametrize('name', NAMES)
def test_forward_makes_a_gpu_wait_for_nothing(name):
    for training in (False, True):
        log = forward(build(name), training)
        assert len(log.operators) > 10
        assert faults(log) == []


@pytest.mark.parametrize('name', NAMES)
def test_backward_asks_for_no_value_and_makes_no_tensor_of_numbers(name):
    outputs = build(name).train()(torch.rand(2, 3, 64, 96))
    loss = sum(x.sum() for x in outputs)
    with OperatorLog(keep='lift_fresh') as log:
        loss.backward()
    assert len(log.operators) > 10
    assert faults(log) == []
    assert log.kept == [], NOT_FOR_GPU


def test_a_copy_from_the_host_is_noticed():
    class Model(torch.nn.Module):
        def forward(self, x):
            return x * torch.tensor([1.0, 2.0], device=x.device).sum()

    assert [x.name for x in faults(forward(Model(), False))] == ['_to_copy']


def test_a_table_from_the_host_is_noticed():
    class Model(torch.nn.Module):
        def forward(self, x):
            return x[:, :, torch.arange(3).to(x.device)]

    assert [x.name for x in faults(forward(Model(), False))] == ['_to_copy']


def test_a_value_that_is_asked_for_is_noticed():
    x = torch.ones(3)
    with OperatorLog() as log:
        x.sum().item()
    assert [x.name for x in faults(log)] == ['_local_scalar_dense']


def test_sizes_of_levels_are_made_on_the_device():
    with fake_gpu(), OperatorLog() as log:
        table = deform_attn._geometry([(4, 6), (2, 3)], torch.device('cuda'))
    assert table.device.type == 'cuda'
    assert faults(log) == []
    assert deform_attn._geometry([(4, 6), (2, 3)], torch.device('cpu')).tolist() == [
        [4, 6, 0],
        [2, 3, 24],
    ]


def test_a_second_forward_makes_no_table_again():
    attention = MSDeformAttention(8, num_levels=1, num_heads=2)
    with fake_gpu():
        move_to_fake_gpu(attention)
        query = torch.empty(1, 6, 8, device='cuda')
        points = torch.empty(1, 6, 1, 2, device='cuda')
        counts = []
        for _ in range(2):
            with torch.no_grad(), OperatorLog() as log:
                attention(query, points, query, [(2, 3)])
            counts.append(len(log.named('full')))
    assert counts == [2, 0]
    # What was made without data is not handed out afterwards.
    assert type(table_of(((3, 2),), torch.float32, torch.device('cpu'))) is torch.Tensor
