"""Official files of every family, loaded by name, give the official numbers."""

import json

import pytest
import torch

from mmvmamba import get_feature_extractor, get_model
from mmvmamba.checkpoint import CheckpointError, load_model
from mmvmamba.ops.selective_scan import scan_backend
from mmvmamba.testing import assert_close, load_filled, make_input
from tests.official_files import (
    GOLDEN,
    golden,
    model_of,
    state_of,
    write_hub_folder,
    write_official,
)

slow = pytest.mark.slow
# Minutes and many gigabytes each, of families whose smaller variants take the same way.
full = pytest.mark.full

SMALL = [
    *(
        ('plain_mamba', f'tiny_cls_{size}')
        for size in ('64x64', '64x96', '75x101', '80x48', '16x112')
    ),
    *(
        ('vim', f'micro_{name}')
        for name in (
            *(
                '64x64',
                '72x72',
                '96x96',
                '48x80',
                'stride8_64x64',
                'stride8_72x72',
                'stride8_48x80',
            ),
            *('bidirectional_layers', 'bimamba_none', 'bimamba_v1', 'doublecls', 'headcls'),
            *('layernorm', 'layerscale', 'nocls_mean', 'nodivide', 'nopos', 'ssmcfg', 'traced'),
            *('rope_headcls_nodivide', 'rope_nocls_mean'),
        )
    ),
    *(('mambavision', f'small_a_{size}') for size in ('64x64', '75x110', '96x64', '160x224')),
    *(('mambavision', f'small_b_{size}') for size in ('64x64', '61x90')),
    *(('mambaout', f'micro_{size}') for size in ('33x32', '64x64', '64x96', '75x61')),
    *(('mambaout', name) for name in ('micro_convratio_64x48', 'timm_test_mambaout_64x64')),
    ('mambaout', 'timm_test_mambaout_75x61'),
    *(('vmamba', f'micro_{size}') for size in ('64x64', '64x96', '75x61')),
    *(('vmamba', f'micro_{name}') for name in ('gated_64x64', 'gated_75x61')),
    *(('vmamba', f'micro_{name}') for name in ('v0_64x48', 'v0_72x52')),
    *(('spatial_mamba', f'micro_{size}') for size in ('64x64', '64x96', '75x61')),
    ('spatial_mamba', 'micro_mlp2_40x56'),
    *(('mila', f'micro_{size}') for size in ('33x47', '64x64', '64x96', '75x61', '8x8')),
    ('mila', 'micro_options_96x96'),
]
RELEASED = [
    ('plain_mamba', 'l1_cls_224'),
    pytest.param('plain_mamba', 'l2_cls_224', marks=slow),
    pytest.param('plain_mamba', 'l3_cls_224', marks=full),
    ('vim', 'vim_tiny_224'),
    pytest.param('vim', 'vim_tiny_stride8_224', marks=slow),
    pytest.param('vim', 'vim_tiny_legacy_73p1_224', marks=slow),
    pytest.param('vim', 'vim_small_224', marks=slow),
    pytest.param('vim', 'vim_small_stride8_224', marks=full),
    pytest.param('vim', 'vim_base_224', marks=full),
    ('mambavision', 'mamba_vision_T_224'),
    *(
        pytest.param('mambavision', f'mamba_vision_{name}', marks=slow)
        for name in ('T_512x224', 'T2_224', 'S_224', 'B_224')
    ),
    *(
        pytest.param('mambavision', f'mamba_vision_{name}', marks=full)
        for name in ('L_224', 'L2_224', 'L2_512_21k_512', 'L3_256_21k_256', 'L3_512_21k_512')
    ),
    ('mambaout', 'femto_224x224'),
    ('mambaout', 'timm_femto_224x224'),
    *(
        pytest.param('mambaout', name, marks=slow)
        for name in (
            *('femto_224x320', 'femto_225x190', 'kobe_224x224', 'tiny_224x224', 'small_224x224'),
            *('base_224x224', 'timm_small_rw_224x224', 'timm_base_short_rw_224x224'),
            *('timm_base_tall_rw_224x224', 'timm_base_wide_rw_224x224'),
            'timm_base_plus_rw_224x224',
        )
    ),
    *(
        pytest.param('vmamba', f'{name}_224x224', marks=slow)
        for name in (
            *('tiny_s1l8', 'tiny_s2l5', 'small_s1l20', 'small_s2l15', 'base_s1l20', 'base_s2l15'),
            *('vanilla_tiny', 'vanilla_small', 'vanilla_base'),
        )
    ),
    *(
        pytest.param(family, f'{size}_224x224', marks=slow)
        for family in ('spatial_mamba', 'mila')
        for size in ('tiny', 'small', 'base')
    ),
    *(pytest.param('mila', f'tiny_{size}', marks=slow) for size in ('225x190', '256x256')),
]


def tolerance_of(case, dtype):
    """Rotation tables are computed in float32."""
    return 1e-6 if case.spec['kwargs'].get('if_rope') and dtype is torch.float64 else None


def without_tables(state, name, overrides):
    """Puts the rotation tables of the constructor in place of filled ones, as the cases have it."""
    if not any('freqs_' in key for key in state):
        return state
    own = get_model(name, **overrides).backbone.state_dict()
    return {key: own[key] if 'freqs_' in key else value for key, value in state.items()}


def load(name, path, dtype, **overrides):
    """Loads by name; in double precision into a model that is in it already."""
    if dtype is torch.float32:
        return get_model(name, pretrained=path, **overrides)
    model = get_model(name, **overrides).double()
    load_model(model, path)
    return model


def check_logits(case, model, dtype, tolerance=None):
    with torch.no_grad():
        logits = model(case.input().to(dtype))
    case.check('logits', logits, tolerance)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(('family', 'name'), [*SMALL, *RELEASED])
def test_official_file_gives_official_logits(family, name, dtype, tmp_path):
    check_official_file(family, name, dtype, tmp_path)


@pytest.mark.parametrize(
    ('family', 'name'), [case for case in SMALL if case[0] not in ('mambaout', 'mila')]
)
def test_the_reference_scan_gives_official_logits_in_float32(family, name, tmp_path):
    # In float32 the scan is numba's above; in float64 it is this one.
    with scan_backend('torch'):
        check_official_file(family, name, torch.float32, tmp_path)


def check_official_file(family, name, dtype, tmp_path):
    case = golden(family, name)
    model_name, overrides = model_of(case)
    state = without_tables(state_of(case, dtype), model_name, overrides)
    path = write_official(tmp_path / 'official', family, state)
    # The largest takes 6 GB, and as much again in the file and in the model.
    del state
    model = load(model_name, path, dtype, **overrides)
    check_logits(case, model, dtype, tolerance_of(case, dtype))


RESIZED = sorted(path.stem for path in (GOLDEN / 'vim').glob('micro_*_to_*.json'))


@pytest.mark.parametrize('case_name', RESIZED)
def test_vim_file_of_another_grid_is_resized_by_the_rule(case_name, tmp_path):
    case = golden('vim', case_name)
    rule = case.spec['pos_embed_rule']
    path = write_official(tmp_path / 'official', 'vim', state_of(case, torch.float64))
    name, overrides = model_of(case)
    overrides['position_resize'] = 'upstream' if rule == 'upstream' else 'token_aware'
    model = load(name, path, torch.float64, **overrides)
    assert_close(model.backbone.pos_embed, case.arrays['pos_embed'], 'pos_embed')
    check_logits(case, model, torch.float64)


def test_plain_mamba_file_of_another_image_size_is_resized(tmp_path):
    case = golden('plain_mamba', 'tiny_cls_64x96')
    path = write_official(tmp_path / 'official', 'plain_mamba', state_of(case))
    name, overrides = model_of(case)
    model = get_model(name, pretrained=path, **dict(overrides, img_size=(64, 96)))
    assert model.backbone.pos_embed.shape == (1, 24, 32)
    check_logits(case, model, torch.float32)


@pytest.mark.parametrize('prefix', ['model.', 'module.', ''])
def test_hub_folder_gives_official_logits(prefix, tmp_path):
    case = golden('mambavision', 'small_a_64x64')
    folder = write_hub_folder(tmp_path / 'MambaVision-T-1K', state_of(case), prefix)
    name, overrides = model_of(case)
    check_logits(case, get_model(name, pretrained=folder, **overrides), torch.float32)
    file = folder / 'model.safetensors'
    check_logits(case, get_model(name, pretrained=file, **overrides), torch.float32)


def test_sharded_hub_folder_is_read(tmp_path):
    case = golden('mambavision', 'small_a_64x64')
    state = state_of(case)
    keys = list(state)
    names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    weight_map = {}
    for name, part in zip(names, (keys[:50], keys[50:]), strict=True):
        write_hub_folder(tmp_path, {key: state[key] for key in part})
        (tmp_path / 'model.safetensors').rename(tmp_path / name)
        weight_map |= {f'model.{key}': name for key in part}
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': weight_map}))
    name, overrides = model_of(case)
    check_logits(case, get_model(name, pretrained=tmp_path, **overrides), torch.float32)
    (tmp_path / names[1]).unlink()
    with pytest.raises(CheckpointError, match='model-00002-of-00002'):
        get_model(name, pretrained=tmp_path, **overrides)


@pytest.mark.parametrize(('entry', 'key'), [('state_dict_ema', 'state_dict_ema'), (None, 'model')])
def test_prefixed_training_file_gives_official_logits(entry, key, tmp_path):
    """The form of timm's training script, with the prefix of DistributedDataParallel."""
    case = golden('mambaout', 'micro_64x64')
    state = {f'module.{name}': tensor for name, tensor in state_of(case).items()}
    content = {key: state, 'epoch': 3, 'metric': 80.0}
    if entry:
        content['state_dict'] = {name: torch.zeros_like(t) for name, t in state.items()}
    torch.save(content, tmp_path / 'last.pth.tar')
    name, overrides = model_of(case)
    model = get_model(name, pretrained=tmp_path / 'last.pth.tar', entry=entry, **overrides)
    check_logits(case, model, torch.float32)


def test_averaged_weights_are_taken_on_request(tmp_path):
    case = golden('vim', 'micro_64x64')
    state = state_of(case)
    path = write_official(tmp_path / 'official', 'vim', state)
    name, overrides = model_of(case)
    model = get_model(name, pretrained=path, entry='model_ema', **overrides)
    assert torch.equal(model.backbone.cls_token, state['cls_token'] + 1)
    with pytest.raises(CheckpointError, match=r"'ema'.*model_ema"):
        get_model(name, pretrained=path, entry='ema', **overrides)


@pytest.mark.parametrize(
    ('family', 'name'),
    [
        ('mambavision', 'small_a_75x110'),
        ('mambavision', 'mamba_vision_T_224'),
        pytest.param('mambavision', 'mamba_vision_T_512x224', marks=slow),
        pytest.param('mambavision', 'mamba_vision_B_224', marks=slow),
        ('mambaout', 'micro_75x61'),
        ('mambaout', 'femto_224x224'),
        ('mambaout', 'timm_test_mambaout_75x61'),
        pytest.param('mambaout', 'timm_base_plus_rw_224x224', marks=slow),
        ('plain_mamba', 'tiny_cls_75x101'),
        ('plain_mamba', 'l1_cls_224'),
        pytest.param('plain_mamba', 'l2_cls_224', marks=slow),
        ('vmamba', 'micro_75x61'),
        ('vmamba', 'micro_v0_72x52'),
        pytest.param('vmamba', 'tiny_s1l8_224x224', marks=slow),
        ('spatial_mamba', 'micro_75x61'),
        pytest.param('spatial_mamba', 'tiny_224x224', marks=slow),
        ('mila', 'micro_75x61'),
        pytest.param('mila', 'tiny_225x190', marks=slow),
    ],
)
def test_feature_extractor_gives_official_features(family, name, tmp_path):
    case = golden(family, name)
    path = write_official(tmp_path / 'official', family, state_of(case))
    model_name, overrides = model_of(case)
    del overrides['num_classes']
    out_indices = -1 if family == 'plain_mamba' else None
    extractor = get_feature_extractor(model_name, out_indices, pretrained=path, **overrides)
    with torch.no_grad():
        pooled, maps = extractor(case.input().float())
    # timm's cases have no pooled vector.
    if 'pooled' in case.arrays:
        case.check('pooled', pooled)
    stages = [f'stage{i}' for i in range(1, 5)]
    others = dict(mambavision=[f'feature{i}' for i in range(4)], plain_mamba=['tokens'])
    names = others.get(family, stages)
    for feature, value in zip(names, maps, strict=True):
        case.check(feature, value.flatten(2).mT if family == 'plain_mamba' else value)


def test_deit_file_gives_timms_logits_and_features(tmp_path):
    """The visible half of the Transformer pair is DeiT, whose file has its weights in 'model'."""
    timm = pytest.importorskip('timm')
    theirs = load_filled(timm.create_model('deit_tiny_patch16_224', depth=4)).eval()
    torch.save({'model': theirs.state_dict()}, tmp_path / 'deit.pth')
    arch = dict(embed_dims=192, num_layers=4, num_heads=3)
    images = make_input((1, 3, 224, 224)).float()
    for name in ('vit_tiny_visible', 'deit_tiny_patch16_224'):
        model = get_model(name, pretrained=tmp_path / 'deit.pth', arch=arch)
        extractor = get_feature_extractor(name, pretrained=tmp_path / 'deit.pth', arch=arch)
        with torch.no_grad():
            assert_close(model(images), theirs(images), 'logits')
            pooled, maps = extractor(images)
            tokens = theirs.forward_features(images)
        assert_close(pooled, tokens[:, 0], 'pooled')
        assert_close(maps[3].flatten(2).mT, tokens[:, 1:], 'map')
        assert [value.shape for value in maps] == [(1, 192, 14, 14)] * 4


def test_vim_features_are_class_token_and_maps(tmp_path):
    case = golden('vim', 'micro_traced')
    path = write_official(tmp_path / 'official', 'vim', state_of(case))
    name, overrides = model_of(case)
    model = get_model(name, pretrained=path, **overrides)
    del overrides['num_classes']
    extractor = get_feature_extractor(name, (0, 3), pretrained=path, **overrides)
    images = case.input().float()
    with torch.no_grad():
        pooled, maps = extractor(images)
        assert_close(model.head.fc(pooled), model(images), 'logits', 1e-6)
    case.check('features', pooled)
    assert [tuple(value.shape) for value in maps] == [(2, 48, 4, 4)] * 2
