"""Loading through mmengine's own paths, and what is said about keys that do not fit."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from mmvmamba import get_model
from mmvmamba.apis import model_config
from mmvmamba.checkpoint import CheckpointError
from mmvmamba.models.adapters import PlainMambaAdapter, VimAdapter
from mmvmamba.models.backbones import (
    MILA,
    MambaOut,
    MambaVision,
    PlainMamba,
    SpatialMamba,
    VisionMamba,
    VMamba,
)
from tests.official_files import golden, model_of, state_of, write_official

CASES = [
    ('plain_mamba', 'tiny_cls_64x64'),
    ('vim', 'micro_64x64'),
    ('mambavision', 'small_a_64x64'),
    ('mambaout', 'micro_64x64'),
    ('mambaout', 'timm_test_mambaout_64x64'),
    ('vmamba', 'micro_64x64'),
    ('vmamba', 'micro_v0_64x48'),
    ('spatial_mamba', 'micro_64x64'),
    ('mila', 'micro_64x64'),
]
DOWNSTREAM = dict(final_norm=False, out_norm='LN2d')
each_family = pytest.mark.parametrize(('family', 'name'), CASES)


def official_file(tmp_path, family, name):
    case = golden(family, name)
    return case, write_official(tmp_path / 'official', family, state_of(case))


def backbone_config(case, **changes):
    name, overrides = model_of(case)
    config = model_config(name, **overrides).model
    return dict(config.backbone, **changes), config


def build(config):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(config)


@each_family
def test_load_from_takes_an_official_file(family, name, tmp_path):
    case, path = official_file(tmp_path, family, name)
    _, config = backbone_config(case)
    model = build(config).eval()
    load_checkpoint(model, str(path), strict=True)
    with torch.no_grad():
        case.check('logits', model(case.input().float()))


@each_family
@pytest.mark.parametrize('prefix', [None, 'backbone', 'backbone.'])
def test_pretrained_backbone_takes_an_official_file(family, name, prefix, tmp_path, log):
    case, path = official_file(tmp_path, family, name)
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix=prefix)
    config, full = backbone_config(case, init_cfg=init_cfg)
    backbone = build(config)
    backbone.init_weights()
    expected = get_model(model_of(case)[0], pretrained=path, **model_of(case)[1]).backbone
    for key, tensor in expected.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], tensor), key
    line = next(line for line in log if 'loaded from' in line)
    assert 'head.*' in line
    assert ('neck.*' in line) == (full.neck is not None and family == 'mambaout')


@pytest.mark.parametrize(
    ('family', 'name', 'changes', 'left_out', 'new'),
    [
        ('mambavision', 'small_a_64x64', DOWNSTREAM, 'norm.', 'outnorm3'),
        ('mambaout', 'micro_64x64', dict(out_norm='LN2d'), 'neck.*', 'outnorm3'),
        ('plain_mamba', 'tiny_cls_64x64', dict(final_norm=False), 'ln1.', None),
        ('vmamba', 'micro_64x64', DOWNSTREAM, 'norm.', 'outnorm3'),
        ('spatial_mamba', 'micro_64x64', DOWNSTREAM, 'norm.', 'outnorm3'),
        ('mila', 'micro_64x64', DOWNSTREAM, 'norm.', 'outnorm3'),
        ('plain_mamba', 'tiny_cls_64x64', dict(out_indices=(0, 2)), 'head.*', 'norm_layer0'),
    ],
)
def test_downstream_backbone_names_what_it_leaves_out(
    family, name, changes, left_out, new, tmp_path, log
):
    case, path = official_file(tmp_path, family, name)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    backbone = build(backbone_config(case, init_cfg=init_cfg, **changes)[0])
    backbone.init_weights()
    line = next(line for line in log if 'loaded from' in line)
    assert left_out in line.split('; new')[0]
    assert new is None or new in line.split('; new')[1]


def test_vim_without_class_token_takes_a_file_with_one(tmp_path, log):
    case, path = official_file(tmp_path, 'vim', 'micro_64x64')
    config, _ = backbone_config(
        case, init_cfg=dict(type='Pretrained', checkpoint=str(path)),
        class_token='none', out_type='featmap',
    )  # fmt: skip
    backbone = build(config)
    backbone.init_weights()
    table = state_of(case)['pos_embed']
    assert torch.equal(backbone.pos_embed, torch.cat([table[:, :8], table[:, 9:]], dim=1))
    assert any('cls_token' in line for line in log)


@pytest.mark.parametrize(
    ('family', 'name', 'backbone_type', 'indexes'),
    [
        ('plain_mamba', 'tiny_cls_64x64', PlainMambaAdapter, [[0, 2]]),
        ('vim', 'micro_64x64', VimAdapter, None),
    ],
)
def test_adapter_starts_from_a_classification_file(
    family, name, backbone_type, indexes, tmp_path, log
):
    case, path = official_file(tmp_path, family, name)
    config, _ = backbone_config(case)
    settings = {key: config[key] for key in ('arch', 'img_size', 'mixer') if key in config}
    backbone = backbone_type(
        **settings,
        adapter=dict(deform_num_heads=4, interaction_indexes=indexes),
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
    )
    backbone.init_weights()
    first = next(key for key in case.spec['keys'] if key.endswith('layers.0.norm.weight'))
    torch.testing.assert_close(
        backbone.layers[0].norm.weight.detach().double(), case.state_dict()[first]
    )
    assert any('level_embed' in line for line in log)


def test_detector_file_gives_its_backbone(tmp_path, log):
    case = golden('plain_mamba', 'tiny_cls_64x64')
    state = {key: value for key, value in state_of(case).items() if key.startswith('backbone.')}
    state |= {'neck.lateral_convs.0.weight': torch.zeros(2), 'rpn_head.bias': torch.zeros(2)}
    torch.save({'meta': {}, 'state_dict': state}, tmp_path / 'detector.pth')
    for prefix in (None, 'backbone.'):
        init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'detector.pth'), prefix=prefix)
        backbone = build(backbone_config(case, init_cfg=init_cfg)[0])
        backbone.init_weights()
        assert torch.equal(backbone.pos_embed, state['backbone.pos_embed'])
    assert any('not used: neck.*, rpn_head.*' in line for line in log)
    backbone = build(backbone_config(case)[0])
    load_checkpoint(backbone, str(tmp_path / 'detector.pth'), strict=True)
    assert torch.equal(backbone.pos_embed, state['backbone.pos_embed'])


def test_backbone_somewhere_else_is_found_by_its_prefix(tmp_path):
    case = golden('plain_mamba', 'tiny_cls_64x64')
    state = {f'student.{key}': value for key, value in state_of(case).items()}
    torch.save({'state_dict': state}, tmp_path / 'pair.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'pair.pth'))
    with pytest.raises(CheckpointError, match=r'start with student\.\*\. Say with prefix='):
        build(backbone_config(case, init_cfg=init_cfg)[0]).init_weights()
    with pytest.raises(CheckpointError, match=r"no keys under 'teacher\.'.*student\.\*"):
        build(backbone_config(case, init_cfg=dict(init_cfg, prefix='teacher'))[0]).init_weights()
    backbone = build(backbone_config(case, init_cfg=dict(init_cfg, prefix='student.backbone'))[0])
    backbone.init_weights()
    assert torch.equal(backbone.pos_embed, state['student.backbone.pos_embed'])


@pytest.mark.parametrize(
    'backbone',
    [PlainMamba, VisionMamba, MambaVision, MambaOut, VMamba, SpatialMamba, MILA],
)
def test_file_of_another_family_is_refused(backbone, tmp_path):
    family, name = CASES[0] if backbone is not PlainMamba else CASES[1]
    _, path = official_file(tmp_path, family, name)
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    with pytest.raises(CheckpointError, match=rf'{path.name} holds {family} weights'):
        backbone(init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize('family', ['vmamba', 'spatial_mamba', 'mila'])
def test_file_of_a_pyramid_is_refused_by_the_others(family, tmp_path):
    _, path = official_file(tmp_path, family, 'micro_64x64')
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    for backbone in {VMamba, SpatialMamba, MILA, MambaOut}:
        if backbone.family != family:
            with pytest.raises(CheckpointError, match=rf'{path.name} holds {family} weights'):
                backbone(init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize('family', ['vmamba', 'spatial_mamba', 'mila'])
def test_norms_of_outputs_are_new_after_a_classification_file(family, tmp_path):
    case, path = official_file(tmp_path, family, 'micro_64x64')
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    changes = dict(DOWNSTREAM, out_indices=(0, 1, 2, 3))
    backbone = build(backbone_config(case, init_cfg=init_cfg, **changes)[0])
    backbone.init_weights()
    state, official = backbone.state_dict(), state_of(case)
    assert not any(key.startswith(('norm.', 'head.')) for key in state)
    for i in range(4):
        assert (state[f'outnorm{i}.weight'] == 1).all()
        assert (state[f'outnorm{i}.bias'] == 0).all()
    taken = {key for key in state if not key.startswith('outnorm')}
    assert taken <= set(official)
    for key in taken:
        assert torch.equal(state[key], official[key].view_as(state[key])), key


@pytest.mark.parametrize(('family', 'name'), CASES[:4])
def test_file_of_another_size_is_refused(family, name, tmp_path):
    case, path = official_file(tmp_path, family, name)
    with pytest.raises(CheckpointError, match=r'does not fit .*of another shape') as error:
        get_model(model_of(case)[0], pretrained=path)
    assert 'in the file' in str(error.value)
    assert 'in the model' in str(error.value)


def test_name_of_another_family_is_refused(tmp_path):
    _, path = official_file(tmp_path, 'vim', 'micro_64x64')
    with pytest.raises(CheckpointError, match=r'to hold mambavision weights.*those of vim'):
        get_model('mambavision_t', pretrained=path)


def test_missing_and_unexpected_keys_are_named(tmp_path):
    case, path = official_file(tmp_path, 'mambaout', 'micro_64x64')
    state = state_of(case)
    state['stages.3.7.norm.weight'] = state.pop('stages.3.0.norm.weight')
    torch.save(state, path)
    message = (
        r'1 missing in the file: backbone\.stages\.3\.0\.norm\.weight; '
        r'1 not in the model: backbone\.stages\.3\.7\.norm\.weight'
    )
    name, overrides = model_of(case)
    with pytest.raises(CheckpointError, match=message):
        get_model(name, pretrained=path, **overrides)


@pytest.mark.parametrize(
    'mark', [dict(meta=dict(mmengine_version='0.10.7')), dict(message_hub=dict(log_scalars={}))]
)
def test_checkpoint_of_mmengine_is_passed_on_whole(mark, tmp_path):
    """Resuming needs the other entries, and names of a bare backbone must not change."""
    content = dict(
        state_dict=state_of(golden('mambaout', 'micro_64x64')),
        optimizer=dict(state={}, param_groups=[]),
        **mark,
    )
    torch.save(content, tmp_path / 'epoch_1.pth')
    from mmengine.runner import CheckpointLoader

    read = CheckpointLoader.load_checkpoint(str(tmp_path / 'epoch_1.pth'))
    assert set(read) == set(content)
    assert list(read['state_dict']) == list(content['state_dict'])


@pytest.mark.parametrize('way', ['get_model', 'mmengine', 'torch', 'init_cfg'])
def test_a_checkpoint_is_fitted_once(way, tmp_path, monkeypatch):
    case, path = official_file(tmp_path, 'plain_mamba', 'tiny_cls_64x64')
    calls = []
    fit = PlainMamba.fit_checkpoint
    monkeypatch.setattr(
        PlainMamba, 'fit_checkpoint', lambda self, state: (calls.append(1), fit(self, state))
    )
    config, full = backbone_config(case)
    if way == 'get_model':
        name, overrides = model_of(case)
        model = get_model(name, pretrained=path, **overrides).backbone
    elif way == 'mmengine':
        model = build(config)
        load_checkpoint(model, str(path), strict=True)
    elif way == 'torch':
        state = {key: value for key, value in state_of(case).items() if 'ema_' not in key}
        model = build(full)
        model.load_state_dict(state)
        model = model.backbone
    else:
        model = build(dict(config, init_cfg=dict(type='Pretrained', checkpoint=str(path))))
        model.init_weights()
    assert calls == [1]
    assert torch.equal(model.pos_embed, state_of(case)['backbone.pos_embed'])
