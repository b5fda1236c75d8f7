"""MESA's second loss and the hook that provides the teacher."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import nn

from mmvmamba.engine import MesaEMAHook
from mmvmamba.engine.ema import SteppedEMA
from mmvmamba.models.classifiers import MesaClassifier
from mmvmamba.testing import make_input
from tests.official_files import golden


def classifier(**settings):
    torch.manual_seed(0)
    init_default_scope('mmpretrain')
    return MesaClassifier(
        backbone=dict(
            type='mmvmamba.MambaOut',
            arch=dict(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)),
            out_indices=(3,),
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=5,
            in_channels=8,
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
        ),
        **{'mesa_weight': 0.5, **settings},
    )


def batch():
    return torch.randn(2, 3, 32, 32), [DataSample().set_gt_label(i) for i in range(2)]


def test_no_teacher_means_no_second_loss():
    assert set(classifier().loss(*batch())) == {'loss'}


def test_the_second_loss_is_the_softened_divergence_from_the_teacher():
    model, (images, samples) = classifier(), batch()
    teacher = copy.deepcopy(model).train()
    for parameter in teacher.parameters():
        parameter.data.mul_(1.5)
    model.set_teacher(teacher)
    losses = model.loss(images, samples)
    with torch.no_grad():
        target = F.softmax(copy.deepcopy(teacher).eval()(images) / 3, -1)
        prediction = F.softmax(model(images) / 3, -1)
    want = 50 * 0.5 * (target * (target.log() - prediction.log())).sum(-1).mean()
    assert losses['loss_mesa'].item() == pytest.approx(want.item(), rel=1e-4)
    assert want > 0
    losses['loss_mesa'].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert teacher.training
    assert not any('teacher' in key for key in model.state_dict())


class Known(nn.Module):
    """A teacher that gives the same logits for any images."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images, mode):
        return self.logits


@pytest.mark.parametrize('weight', [1.0, 1.5, 2.0])
def test_cross_entropy_with_the_teacher_matches_official_numbers(weight):
    case = golden('mila', 'unit_mesa_loss')
    logits, targets, averaged = (make_input((6, 10), seed) for seed in range(3))
    logits.requires_grad_()
    model = classifier(mesa_weight=weight, mesa_loss='cross_entropy')
    model.set_teacher(Known(averaged))
    loss = F.cross_entropy(logits, targets.softmax(-1)) + model.mesa_loss(None, logits)
    case.check(f'loss_{weight}', loss)
    loss.backward()
    case.check(f'grad_{weight}', logits.grad)


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"mesa_loss must be one of .*, got 'kl'"):
        classifier(mesa_loss='kl')


def test_the_hook_brings_the_average_in_at_its_epoch():
    model, hook = classifier(), MesaEMAHook(start_epoch=3, momentum=0.1)
    runner = SimpleNamespace(model=model, epoch=2)
    hook.before_run(runner)
    hook.before_train_epoch(runner)
    assert set(model.loss(*batch())) == {'loss'}
    runner.epoch = 3
    hook.before_train_epoch(runner)
    assert set(model.loss(*batch())) == {'loss', 'loss_mesa'}


def test_the_average_is_of_the_kind_that_is_asked_for():
    model, hook = classifier(), MesaEMAHook(start_epoch=0, ema_type='mmvmamba.SteppedEMA')
    runner = SimpleNamespace(model=model, epoch=0)
    hook.before_run(runner)
    assert isinstance(hook.ema_model, SteppedEMA)
