"""How many operators a GPU is given for one image in evaluation, counted without a GPU."""

from contextlib import nullcontext

import pytest
import torch

from mmvmamba.fake_gpu import OperatorLog, fake_autocast, fake_gpu, move_to_fake_gpu
from mmvmamba.models import backbones
from tests.versions import needs_fake_gpu

# Model, as it is and under autocast: operators before they were fused and weights kept, and the
# most there may be now, one of them to lay out each map that is put out. Attention counts for all
# that it is made of without a GPU's own kernel.
COUNTS = {
    'vim_tiny': (lambda: backbones.VisionMamba('tiny'), (538, 176), (780, 180)),
    'plain_mamba_l1': (lambda: backbones.PlainMamba('L1'), (476, 229), (740, 232)),
    'mambavision_t': (lambda: backbones.MambaVision('T'), (239, 189), (447, 220)),
    'mambaout_tiny': (lambda: backbones.MambaOut('tiny'), (155, 123), (301, 133)),
}


@needs_fake_gpu
@pytest.mark.parametrize('name', COUNTS)
def test_a_forward_pass_is_given_few_operators(name):
    build, *limits = COUNTS[name]
    model = build().eval()
    with fake_gpu(), torch.no_grad():
        move_to_fake_gpu(model)
        image = torch.empty(1, 3, 224, 224, device='cuda')
        for autocast, (before, most) in zip((nullcontext, fake_autocast), limits, strict=True):
            for _ in range(2):
                # The first pass keeps what depends on weights alone.
                with autocast(), OperatorLog() as log:
                    model(image)
            assert len(log.operators) <= most < before
            if autocast is fake_autocast:
                assert most <= before / 2
