"""MMSyncBN of mmcv, as mmcv calls the stand-in, against PyTorch's batch normalisation."""

import pytest
import torch
import torch.distributed as dist
from mmcv.ops import SyncBatchNorm
from torch import nn

pytestmark = pytest.mark.usefixtures('stand_ins')


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('mode', ['default', 'N'])
def test_outputs_statistics_and_gradients_are_those_of_batch_norm(one_process, mode):
    torch.manual_seed(0)
    ours, theirs = SyncBatchNorm(5, stats_mode=mode), nn.BatchNorm2d(5)
    theirs.load_state_dict(ours.state_dict())
    x = [torch.randn(4, 5, 3, 6).mul(2).add(1).requires_grad_() for _ in range(2)]
    x[1].data.copy_(x[0].data)
    for _ in range(2):
        outputs = ours(x[0]), theirs(x[1])
        torch.testing.assert_close(*outputs)
        for out in outputs:
            (out**2 * torch.arange(6)).sum().backward()
    torch.testing.assert_close(x[0].grad, x[1].grad, rtol=1e-4, atol=1e-4)
    for name in ('weight', 'bias'):
        grads = [getattr(layer, name).grad for layer in (ours, theirs)]
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    assert ours.running_mean.abs().min() > 0
