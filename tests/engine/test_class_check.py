"""Data of another number of classes than the model's."""

from types import SimpleNamespace

import pytest
from torch import nn

from mmvmamba.datasets.errors import DataError
from mmvmamba.engine import ClassCheckHook


def make_runner(head, train=3, val=3):
    model = nn.Module()
    model.head = nn.Linear(2, 2)
    model.head.num_classes = head
    loaders = {
        f'{name}_dataloader': SimpleNamespace(
            dataset=SimpleNamespace(
                metainfo={} if count is None else {'classes': ('x',) * count},
                data_prefix={'img_path': f'data/{name}.lmdb'},
            )
        )
        for name, count in (('train', train), ('val', val), ('test', val))
    }
    return SimpleNamespace(model=model, val_loop=object(), **loaders)


@pytest.mark.parametrize('wrap', [nn.Identity, nn.DataParallel])
@pytest.mark.parametrize(
    ('stage', 'numbers', 'message'),
    [
        ('train', dict(train=5), r'^train_dataloader: .*3 classes .*5 \(path: data/train\.lmdb\)'),
        ('train', dict(val=2), r'^val_dataloader: .*3 classes .*2 \(path: data/val\.lmdb\)'),
        ('val', dict(val=2), r'^val_dataloader: .*got 2 .*num_classes of .*head.* to 2'),
        ('test', dict(val=4), r'^test_dataloader: .*3 classes of the model, got 4'),
    ],
)
def test_another_number_of_classes_is_refused(wrap, stage, numbers, message):
    runner = make_runner(3, **numbers)
    runner.model = wrap(runner.model) if wrap is nn.DataParallel else runner.model
    with pytest.raises(DataError, match=message):
        getattr(ClassCheckHook(), f'before_{stage}')(runner)


@pytest.mark.parametrize('runner', [make_runner(3), make_runner(None), make_runner(3, None, None)])
def test_equal_or_unknown_numbers_pass(runner):
    hook = ClassCheckHook()
    hook.before_train(runner)
    hook.before_val(runner)
    hook.before_test(runner)
    runner.val_loop = None
    hook.before_train(runner)


def test_heads_of_proposals_have_one_class_whatever_the_data():
    class RPNHead(nn.Identity):
        num_classes = 1

    runner = make_runner(3)
    runner.model.rpn_head = RPNHead()
    ClassCheckHook().before_test(runner)
    runner.model.other_head = nn.Identity()
    runner.model.other_head.num_classes = 1
    with pytest.raises(
        DataError, match=r'the 1 classes of the model, .* Set num_classes of other_head'
    ):
        ClassCheckHook().before_test(runner)
