"""Which of mmcv's operators others' configs call, and whether each has a stand-in."""

import re

import pytest

from mmvmamba.compat import mmcv_ops
from tests.tools.conftest import ROOT, load_tool

PAGE = ROOT / 'docs' / 'drop_in.md'


@pytest.fixture(scope='module')
def tool():
    return load_tool('misc/list_operators')


def listed():
    """The operators in the table of the page."""
    return set(re.findall(r'^\| `(\w+)` \| yes \|', PAGE.read_text(), re.M))


def test_every_listed_operator_has_a_stand_in():
    assert listed() <= set(mmcv_ops.__all__)
    assert len(listed()) >= 20
    assert '**no**' not in PAGE.read_text()


def test_names_are_followed_to_the_compiled_module(tool):
    from mmcv import ops
    from mmdet.models.task_modules.samplers import ScoreHLRSampler

    assert tool.operators_of(ops.carafe) == {'carafe_forward', 'carafe_backward'}
    assert tool.operators_of(ops.CARAFEPack) == {'carafe_forward', 'carafe_backward'}
    assert tool.operators_of(ops.soft_nms) == {'softnms'}
    # `batched_nms` evaluates the name that stands in a config.
    assert list(tool.types_in([dict(nms=dict(type='mmcv.soft_nms'))])) == ['soft_nms']
    assert 'nms_match' in tool.operators_of(ScoreHLRSampler)
    assert not tool.operators_of(ops.CornerPool)
    assert not tool.operators_of(len)


def test_a_folder_of_configs_is_listed(tool, capsys, monkeypatch):
    arguments = ['mmdet', '--only', 'carafe', '--quiet']
    assert tool.main(arguments) == 0
    table = capsys.readouterr().out
    assert re.search(r'^\| `carafe_forward` \| yes \| 2 \| 0 \| mmdet/carafe/', table, re.M)
    assert '0 configs could not be built' in table
    monkeypatch.setattr(mmcv_ops, '__all__', ['nms'])
    assert tool.main(arguments) == 1
    assert '| `carafe_forward` | **no** |' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['mmcls'], r"packages must be among .*, got \['mmcls'\]"),
        (['mmdet', '--only', 'absent'], r"has no folders \['absent'\]"),
    ],
)
def test_what_is_not_there_is_named(tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(arguments)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.full
def test_the_list_is_that_of_all_configs(tool, capsys):
    assert tool.main(['--quiet']) == 0
    found = re.findall(r'^\| `(\w+)` \| yes \|', capsys.readouterr().out, re.M)
    assert set(found) == listed()
