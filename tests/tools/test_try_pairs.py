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
    tool.replace_channels(head, [256, 512], {256: 24, 512: 48})
    assert head.pop('kernel_update_head') == dict(in_channels=512)
    assert head == dict(
        in_channels=24, feat_channels=256, parts=[dict(in_channels=[48, 24], depth=512)]
    )


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
