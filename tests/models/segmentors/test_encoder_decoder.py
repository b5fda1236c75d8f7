"""Segmentors built from configs: official numbers, and sliding windows in batches."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from mmseg.registry import MODELS as MMSEG_MODELS

from mmvmamba.models.segmentors import EncoderDecoder
from mmvmamba.models.segmentors.encoder_decoder import window_corners
from mmvmamba.testing import GoldenCase, assert_close

ROOT = Path(__file__).parents[3]


def build(config):
    init_default_scope('mmseg')
    model = Config.fromfile(ROOT / 'configs' / 'seg' / config).model
    # SyncBN counts over processes; one process evaluates it as BN.
    for head in (model.decode_head, model.auxiliary_head):
        head.norm_cfg = dict(type='BN')
    model.backbone.init_cfg = None
    return MMSEG_MODELS.build(model)


def test_upernet_of_plain_mamba_l1_matches_official_numbers():
    case = GoldenCase(ROOT / 'tests' / 'golden' / 'plain_mamba' / 'l1_upernet_96x160')
    segmentor = build('l1_upernet.py').eval()
    state, filled = segmentor.state_dict(), case.state_dict()
    counters = {key: value for key, value in state.items() if key.endswith('num_batches_tracked')}
    assert {key: list(value.shape) for key, value in state.items()} == case.spec['keys']
    segmentor.load_state_dict({**counters, **filled})
    with torch.no_grad():
        maps = segmentor.extract_feat(case.input().float())
        case.check('decode_logits', segmentor.decode_head(maps))
        case.check('aux_logits', segmentor.auxiliary_head(maps))


@pytest.mark.parametrize('arch', ['l2', 'l3'])
def test_official_upernet_keys_are_those_of_the_config(arch):
    case = GoldenCase(ROOT / 'tests' / 'golden' / 'plain_mamba' / f'{arch}_upernet')
    with torch.device('meta'):
        segmentor = build(f'{arch}_upernet.py')
    keys = {key: list(value.shape) for key, value in segmentor.state_dict().items()}
    assert keys == case.spec['keys']


def small_segmentor(cls, window_batch):
    torch.manual_seed(0)
    init_default_scope('mmseg')
    return cls(
        backbone=dict(
            type='mmvmamba.MambaOut',
            arch=dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
            out_indices=-1,
        ),
        decode_head=dict(
            type='FCNHead',
            in_channels=32,
            in_index=0,
            channels=8,
            num_convs=1,
            num_classes=5,
            norm_cfg=dict(type='BN'),
        ),
        test_cfg=ConfigDict(
            mode='slide', crop_size=(64, 64), stride=(43, 30), window_batch=window_batch
        ),
    ).eval()


@pytest.mark.parametrize('size', [(64, 64), (150, 101), (40, 90), (30, 20)], ids=str)
@pytest.mark.parametrize('window_batch', [1, 3, 100])
def test_batched_windows_equal_one_at_a_time(size, window_batch):
    x = torch.randn(2, 3, *size)
    metas = [dict(ori_shape=size, img_shape=size, pad_shape=size) for _ in x]
    with torch.no_grad():
        want = small_segmentor(MMSegEncoderDecoder, 1).slide_inference(x, metas)
        got = small_segmentor(EncoderDecoder, window_batch).slide_inference(x, metas)
    assert_close(got, want, 'logits', tolerance=1e-6)


def test_windows_cover_the_image_and_end_at_its_edge():
    corners = list(window_corners((10, 7), (4, 4), (3, 3)))
    assert corners == [(0, 0), (0, 3), (3, 0), (3, 3), (6, 0), (6, 3)]
    assert list(window_corners((3, 9), (4, 4), (4, 4))) == [(0, 0), (0, 4), (0, 5)]
