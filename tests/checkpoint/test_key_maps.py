"""Every official set of keys is complete: nothing missing, unexpected or of another shape.

Models are built without memory for their weights, so the large ones cost nothing.
"""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope

from mmvmamba.apis import model_config
from mmvmamba.checkpoint import FAMILIES, CheckpointError, convert, load_model
from tests.official_files import GOLDEN, golden, model_of

CONFIGS = Path(__file__).parents[2] / 'configs'


def manifest(family, name):
    """The keys of an official file, as tensors without memory."""
    keys = json.loads((GOLDEN / family / f'{name}.json').read_text())['keys']
    return {key: torch.empty(shape, device='meta') for key, shape in keys.items()}


def shapes(state):
    return {
        key: tuple(tensor.shape)
        for key, tensor in state.items()
        # A backbone looks at these tables and leaves them out.
        if not key.endswith('.rope.rotations')
    }


def build(config, scope):
    with DefaultScope.overwrite_default_scope(scope), torch.device('meta'):
        return revert_sync_batchnorm(MODELS.build(config))


CLASSIFIERS = sorted(
    (path.parent.name, path.stem)
    for pattern in (
        *('plain_mamba/*_cls_*', 'vim/vim_*', 'vim/micro_*x*', 'mambavision/mamba_vision_*'),
        *('mambavision/small_*', 'mambaout/*'),
        *('vmamba/*_224x224', 'vmamba/micro_*', 'spatial_mamba/*_224x224', 'spatial_mamba/micro_*'),
        *('mila/*_2??x*', 'mila/micro_*'),
    )
    for path in GOLDEN.glob(f'{pattern}.json')
    # The keys of the cases of resizing are those before it.
    if '_to_' not in path.stem and 'backbone' not in path.stem
)


@pytest.mark.parametrize(('family', 'name'), CLASSIFIERS)
def test_classifier_keys_are_complete(family, name):
    converted = convert(manifest(family, name), 'file')
    assert converted.family == family
    assert not converted.dropped
    model_name, overrides = model_of(golden(family, name))
    config = model_config(model_name, **overrides).model
    assert shapes(build(config, 'mmpretrain').state_dict()) == shapes(converted.state_dict)


@pytest.mark.parametrize(
    ('config', 'name'),
    [
        *((f'det/l{n}_maskrcnn_1x', f'l{n}_mask_rcnn{"_64x96" * (n == 1)}') for n in (1, 2, 3)),
        *((f'det/l{n}_retinanet_1x', f'l{n}_retinanet') for n in (1, 2, 3)),
        *((f'seg/l{n}_upernet', f'l{n}_upernet{"_96x160" * (n == 1)}') for n in (1, 2, 3)),
    ],
)
def test_detector_and_segmentor_keys_are_complete(config, name):
    state = manifest('plain_mamba', name)
    raw = {'ema_backbone_pos_embed': torch.empty(1, device='meta')}
    converted = convert({'meta': {}, 'state_dict': {**state, **raw}}, 'file')
    assert (converted.family, converted.dropped) == ('plain_mamba', list(raw))
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    scope = 'mmdet' if config.startswith('det') else 'mmseg'
    assert shapes(build(cfg.model, scope).state_dict()) == shapes(converted.state_dict)


@pytest.mark.parametrize('family', sorted(set(FAMILIES) - {'vit'}))
def test_key_of_no_rule_is_an_error(family):
    name = next(name for known, name in CLASSIFIERS if known == family)
    state = {key.removeprefix('backbone.'): value for key, value in manifest(family, name).items()}
    assert convert(state, 'file').family == family
    state['layers.rotary.table'] = torch.empty(1)
    with pytest.raises(CheckpointError, match=r'file .*no rule explains layers\.rotary\.table'):
        convert(state, 'file')


def test_timm_names_become_the_original_ones():
    """timm's and the original ``head.norm`` are different layers."""
    original = convert(manifest('mambaout', 'femto_224x224'), 'file')
    timm = convert(manifest('mambaout', 'timm_femto_224x224'), 'file')
    assert (original.style, timm.style) == ('original', 'timm')
    assert shapes(original.state_dict) == shapes(timm.state_dict)
    assert timm.renamed['head.norm.weight'] == 'neck.norm.weight'
    assert original.renamed['head.norm.weight'] == 'neck.inner_norm.weight'


@pytest.mark.parametrize('size', ['tiny', 'small'])
def test_segmentor_of_vim_is_complete(size):
    """Its pyramid, a part of the official backbone, becomes the neck; heads keep their names."""
    cfg = Config.fromfile(CONFIGS / f'seg/vim_{size[0]}_upernet_60k.py')
    model = build(cfg.model, 'mmseg')
    own = shapes(model.state_dict())
    heads = {key: shape for key, shape in own.items() if 'head.' in key}
    backbone = manifest('vim', f'seg_vim_{size}_512')
    state = {f'backbone.{key}': value for key, value in backbone.items()}
    state |= {key: torch.empty(shape, device='meta') for key, shape in heads.items()}
    converted = convert({'meta': {}, 'state_dict': state}, 'file')
    assert (converted.family, converted.style) == ('vim', 'mmcv 1 segmentor')
    assert not converted.dropped
    unused = {'backbone.norm_f.weight': own['backbone.pos_embed'][-1:]}
    assert shapes(converted.state_dict) == own | unused
    load_model(model, converted)
    converted.state_dict['backbone.norm_g.weight'] = torch.empty(1)
    with pytest.raises(CheckpointError, match=r'1 not in the model: backbone\.norm_g\.weight'):
        load_model(model, converted)


def test_detector_of_vim_is_complete_but_for_its_heads():
    heads = ['roi_heads.box_predictor.0.cls_score.weight', 'proposal_generator.rpn_head.conv.bias']
    state = {
        f'backbone.{key}': value for key, value in manifest('vim', 'det_vim_tiny_1024').items()
    }
    state |= {key: torch.empty(2) for key in (*heads, 'pixel_mean')}
    converted = convert({'model': state}, 'file')
    assert (converted.family, converted.style) == ('vim', 'detectron2')
    assert converted.dropped == [*heads, 'pixel_mean']
    cfg = Config.fromfile(CONFIGS / 'det/vim_t_cascade_maskrcnn_vitdet.py')
    own = shapes(build(cfg.model, 'mmdet').state_dict())
    own = {key: shape for key, shape in own.items() if key.startswith(('backbone.', 'neck.'))}
    assert shapes(converted.state_dict) == own


@pytest.mark.parametrize('start', ['backbone.net.', 'backbone.'])
def test_unknown_key_of_a_vim_pyramid_is_an_error(start):
    name = 'det_micro' if start == 'backbone.net.' else 'seg_micro_hidden'
    state = {f'backbone.{key}': value for key, value in manifest('vim', name).items()}
    state[f'{start}rotary.table'] = torch.empty(1)
    with pytest.raises(CheckpointError, match=rf'no rule explains {start}rotary\.table'):
        convert(state, 'file')


def test_encoder_of_a_self_supervised_file_is_taken():
    state = manifest('mambaout', 'micro_64x64')
    wrapped = {f'encoder.{key}': value for key, value in state.items()}
    converted = convert({'state_dict': wrapped | {'projector.weight': torch.empty(2)}}, 'file')
    assert converted.family == 'mambaout'
    assert converted.dropped == ['projector.weight']


def test_file_of_no_family_is_passed_on_unchanged():
    state = {'model.conv1.weight': torch.zeros(2), 'model.fc.bias': torch.zeros(2)}
    converted = convert(state, 'file')
    assert converted.family is None
    assert not converted.is_changed
    assert list(converted.state_dict) == list(state)
