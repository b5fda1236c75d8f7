"""Others' configs with a backbone of ours."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.tools.conftest import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('misc/try_pairs')


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_guided_anchoring_runs(tool):
    """It predicts with mmcv's masked convolution."""
    mmdet = pytest.importorskip('mmdet')
    name = 'guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco.py'
    cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs' / name)
    tool.run(cfg, 'mmdet', 'mambaout', 128)
    assert cfg.model.backbone.type == 'mmvmamba.MambaOut'


def test_channels_of_the_old_backbone_are_replaced_alone(tool):
    own = dict(in_channels=512)
    parts = [dict(in_channels=(512, 256), depth=512)]
    head = dict(in_channels=256, feat_channels=256, parts=parts, kernel_update_head=own)
    tool.replace_channels(head, [256, 512], [24, 48])
    assert head.pop('kernel_update_head') == dict(in_channels=512)
    assert head == dict(
        in_channels=24, feat_channels=256, parts=[dict(in_channels=(48, 24), depth=512)]
    )


def test_levels_of_the_same_channels_are_told_apart_by_their_place(tool):
    heads = [dict(in_channels=64, in_index=-1), dict(in_channels=(32, 64, 64))]
    tool.replace_channels(heads, [32, 64, 64], [8, 12, 16])
    assert heads == [dict(in_channels=16, in_index=-1), dict(in_channels=(8, 12, 16))]
    with pytest.raises(ValueError, match='cannot become'):
        tool.replace_channels(dict(in_channels=64), [32, 64, 64], [8, 12, 16])


def test_a_head_without_convolutions_hands_on_what_it_gets(tool):
    head = dict(in_channels=64, channels=64, num_convs=0)
    tool.replace_channels(head, [64], [8])
    assert head == dict(in_channels=8, channels=8, num_convs=0)


def test_what_fails_is_tried_with_its_own_backbone(tool, monkeypatch, capsys):
    def run(cfg, package, family, size):
        if family in cfg.fails:
            raise ValueError(f'{family} does not fit')

    monkeypatch.setattr(tool, 'run', run)
    for fails in ([], ['vim'], ['vim', None]):
        path = Path('atss/atss.py')
        assert tool.tell(path, Config(dict(fails=fails)), 'mmdet', 'vim', 8) == bool(fails)
    outcomes = [line.split(' | ')[-1] for line in capsys.readouterr().out.splitlines()]
    why = 'ValueError: vim does not fit'
    assert outcomes == ['runs |', f'{why} |', f'{why} (nor does it run with its own) |']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['mmcls'], r"packages must be among .*, got \['mmcls'\]"),
        (['mmdet', '--only', 'absent'], r"has no folders \['absent'\]"),
        (['mmdet', '--families', 'nosuch'], "backbone of 'nosuch'"),
    ],
)
def test_what_is_not_there_is_named(tool, arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(arguments)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
