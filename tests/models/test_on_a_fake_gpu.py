"""What a GPU would be made to wait for in a forward or backward pass: nothing."""

import pytest
import torch

from mmvmamba.fake_gpu import OperatorLog, fake_autocast, fake_gpu, move_to_fake_gpu
from mmvmamba.models.adapters.modules import MSDeformAttention
from mmvmamba.models.necks import SimpleFPN, ViTFeaturePyramid
from mmvmamba.ops import tables
from mmvmamba.ops.ms_deform_attn import triton as deform_attn
from mmvmamba.ops.tables import table_of
from tests.models.test_backbone_contract import NAMES, build
from tests.versions import needs_fake_gpu

pytestmark = needs_fake_gpu

NOT_FOR_GPU = 'copies from the host, for which a GPU waits'


def faults(log):
    return [x for x in log.operators if x.waits or x.copies_between_devices]


@pytest.fixture
def capturing(monkeypatch):
    """A GPU is there and captures a graph, as far as our code can tell."""
    monkeypatch.setattr(tables, 'is_capturing', lambda: True)
    forbidden = ('synchronize', 'Event', 'empty_cache')
    for name in forbidden:
        monkeypatch.setattr(torch.cuda, name, lambda *args, name=name, **kwargs: pytest.fail(name))


@pytest.mark.parametrize('name', NAMES)
def test_nothing_that_a_graph_cannot_hold_happens_while_one_is_captured(name, capturing):
    model = build(name).eval()
    log = forward(model, False)
    assert len(log.operators) > 10
    assert faults(log) == []
    # What is computed while capturing is there only after the graph has run.
    assert not any(module.__dict__.get('_kept_of_weights') for module in model.modules())


def test_waiting_for_the_gpu_is_noticed_while_a_graph_is_captured(capturing):
    class Model(torch.nn.Module):
        def forward(self, x):
            torch.cuda.synchronize()
            return x

    with pytest.raises(pytest.fail.Exception, match='synchronize'):
        forward(Model(), False)


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


@pytest.mark.parametrize('neck', [SimpleFPN(24, 8), ViTFeaturePyramid(24)], ids=['fpn', 'vit'])
def test_necks_make_a_gpu_wait_for_nothing(neck):
    with fake_gpu():
        move_to_fake_gpu(neck)
        feature = torch.empty(2, 24, 8, 8, device='cuda')
        for training in (False, True):
            neck.train(training)
            with torch.set_grad_enabled(training), OperatorLog() as log:
                neck((feature,))
            assert len(log.operators) > 5
            assert faults(log) == []


@pytest.mark.parametrize('make', [SimpleFPN, ViTFeaturePyramid])
def test_the_backward_pass_of_necks_asks_for_no_value(make):
    outputs = make(24)((torch.rand(2, 24, 8, 8, requires_grad=True),))
    with OperatorLog(keep='lift_fresh') as log:
        sum(x.sum() for x in outputs).backward()
    assert len(log.operators) > 5
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
