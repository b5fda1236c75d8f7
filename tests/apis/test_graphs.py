"""Models replayed from CUDA graphs, on a GPU that is not there; tests/gpu captures real ones."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mmvmamba import graphed
from mmvmamba.apis import GraphedModel, graphs
from mmvmamba.fake_gpu import fake_gpu, move_to_fake_gpu
from tests.versions import needs_fake_gpu


@pytest.fixture
def captures(monkeypatch):
    """Shapes of the images of each capture; a graph replays nothing."""
    found = []

    def capture(model, images):
        found.append(tuple(images.shape))
        return graphs._Graph(images, [model(images)], lambda: None, [])

    monkeypatch.setattr(graphs, '_capture', capture)
    with fake_gpu():
        yield found


def images(batch=1):
    return torch.zeros(batch, 2, device='cuda')


@needs_fake_gpu
def test_a_graph_is_captured_once_for_each_shape_and_the_oldest_goes(captures):
    model = graphed(move_to_fake_gpu(nn.Linear(2, 3)).eval(), most=2)
    with torch.no_grad():
        for batch in (1, 2, 1, 3, 1, 2):
            (out,) = model(images(batch))
            assert out.shape == (batch, 3)
    # Of 1 and 3, the last ones used, 2 drops 3's; 1 stays.
    assert captures == [(1, 2), (2, 2), (3, 2), (2, 2)]


@needs_fake_gpu
def test_weights_that_changed_are_captured_anew(captures):
    layer = move_to_fake_gpu(nn.Linear(2, 3)).eval()
    model = graphed(layer)
    with torch.no_grad():
        model(images())
        model(images())
        layer.weight.mul_(2)
        model(images())
    assert len(captures) == 2


def test_weights_that_were_cast_or_moved_leave_no_graph():
    model = graphed(nn.Linear(2, 3))
    model._graphs['any'] = None
    assert not model.half()._graphs
    assert [x.dtype for x in model._weights] == [torch.float16] * 2


@needs_fake_gpu
def test_gradients_and_training_run_the_model_itself(captures):
    model = graphed(move_to_fake_gpu(nn.Linear(2, 3)).eval())
    assert model(images()).requires_grad
    with torch.no_grad():
        assert isinstance(model.train()(images()), torch.Tensor)
    assert captures == []


def test_what_a_graph_cannot_take_is_said():
    model = graphed(nn.Linear(2, 3).eval())
    with torch.no_grad(), pytest.raises(ValueError, match='on a GPU, got a tensor on cpu; move it'):
        model(torch.zeros(1, 2))
    with pytest.raises(ValueError, match='most must be at least 1, got 0'):
        graphed(nn.Linear(2, 3), most=0)


def test_copies_and_files_have_the_model_and_no_graphs():
    model = graphed(nn.Linear(2, 3), most=3)
    model._graphs['any'] = None
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(other, GraphedModel)
        assert (other.most, len(other._graphs)) == (3, 0)
        assert torch.equal(other.model.weight, model.model.weight)
