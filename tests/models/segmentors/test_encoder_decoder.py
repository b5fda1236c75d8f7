"""Segmentors built from configs: official numbers, and sliding windows in batches."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from mmseg.registry import MODELS as MMSEG_MODELS

from mmvmamba.models.segmentors import EncoderDecoder
from mmvmamba.models.segmentors.encoder_decoder import window_corners
from mmvmamba.testing import GoldenCase, assert_close

ROOT = Path(__file__).parents[3]


def build(config, **backbone):
    init_default_scope('mmseg')
    model = Config.fromfile(ROOT / 'configs' / 'seg' / config).model
    model.backbone.update(backbone)
    if model.get('neck'):
        model.neck.norm_cfg = dict(type='BN')
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'family', 'case'),
    [
        ('vim_t_upernet_60k.py', 'vim', 'seg_vim_tiny_512'),
        ('vim_s_upernet_60k.py', 'vim', 'seg_vim_small_512'),
        ('mambavision_t_upernet_160k.py', 'mambavision', 'downstream_seg_T_512x512'),
    ],
    ids=['vim_t', 'vim_s', 'mambavision_t'],
)
def test_features_of_the_config_match_official_numbers(config, family, case):
    case = GoldenCase(ROOT / 'tests' / 'golden' / family / case)
    # The numbers of Vim-S were made with the default that its code had when it was published.
    segmentor = build(config, **({'use_divide_out': False} if 'vim_s' in config else {})).eval()
    parts = {'fpn': {}, '': {}}
    for name, value in case.state_dict().items():
        # Official files hold a final norm that Vim's segmentors never use.
        if name != 'norm_f.weight':
            parts['fpn' if name.startswith('fpn') else ''][name] = value.float()
    modules = {'': segmentor.backbone, 'fpn': segmentor.neck if segmentor.with_neck else None}
    for name, state in parts.items():
        module = modules[name]
        if module is None:
            assert not state
            continue
        # The cases leave rotation tables as the constructor makes them.
        own = {n: x for n, x in module.state_dict().items() if 'freqs_' in n or 'num_batches' in n}
        module.load_state_dict({**state, **own})
    with torch.no_grad():
        for i, level in enumerate(segmentor.extract_feat(case.input().float())):
            case.check(f'out{i}', level)


def logits_by_definition(segmentor, image, mode):
    """Those of the whole image, or the mean of those of all windows that cover a pixel."""
    (x,) = segmentor.data_preprocessor(dict(inputs=[image]))['inputs']
    size = tuple(x.shape[1:])
    crop = size if mode == 'whole' else tuple(map(min, segmentor.test_cfg.crop_size, size))
    total, count = torch.zeros(segmentor.out_channels, *size), torch.zeros(size)
    for top, left in window_corners(size, crop, segmentor.test_cfg.stride):
        place = (..., slice(top, top + crop[0]), slice(left, left + crop[1]))
        logits = segmentor.decode_head(segmentor.extract_feat(x[place][None]))
        total[place] += F.interpolate(logits, crop, mode='bilinear', align_corners=False)[0]
        count[place] += 1
    return total / count


FAMILIES = ['plain_mamba', 'vim', 'mambavision', 'mambaout', 'vmamba', 'spatial_mamba', 'mila']


# Sizes that neither the patches nor the windows divide.
@pytest.mark.parametrize('mode', ['whole', 'slide'])
@pytest.mark.parametrize('family', FAMILIES)
def test_every_family_takes_sizes_that_are_not_square(family, mode):
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / f'configs/toy/seg_{family}.py').model
    config.test_cfg = dict(mode=mode, crop_size=(64, 80), stride=(40, 50))
    torch.manual_seed(0)
    segmentor = MMSEG_MODELS.build(config).eval()
    for size in ((75, 131), (130, 50), (96, 96)):
        image = torch.randint(0, 255, (3, *size), dtype=torch.uint8)
        with torch.no_grad():
            (sample,) = segmentor.test_step(dict(inputs=[image]))
            want = logits_by_definition(segmentor, image, mode)
        assert sample.pred_sem_seg.shape == sample.seg_logits.shape == size
        assert_close(sample.seg_logits.data, want, f'logits at {size}')
        assert torch.equal(sample.pred_sem_seg.data[0], sample.seg_logits.data.argmax(0))


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
