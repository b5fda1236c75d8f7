"""Writes checkpoints the way the authors' training scripts write them, from the golden cases.

The weights are filled by name; what is tested is everything around them: wrappers, prefixes,
entries that are no weights, and the names of the keys.
"""

import argparse
import json
from collections import OrderedDict
from pathlib import Path

import torch

from mmvmamba.apis import MODEL_TABLE, find_model
from mmvmamba.testing import GoldenCase

GOLDEN = Path(__file__).parent / 'golden'


def golden(family, case):
    return GoldenCase(GOLDEN / family / case)


def state_of(case, dtype=torch.float32):
    """The complete official state dict of a case."""
    filled = {key: value.to(dtype) for key, value in case.state_dict().items()}
    return {key: filled.get(key, torch.tensor(0)) for key in case.spec['keys']}


def write_official(path, family, state):
    """Writes what the authors' training script of a family writes. Returns the file's path."""
    optimizer = {
        'state': {0: {'step': torch.tensor(3.0), 'exp_avg': torch.zeros(3)}},
        'param_groups': [{'lr': 1e-3, 'betas': (0.9, 0.999), 'params': [0]}],
    }
    arguments = argparse.Namespace(model='some_model', lr=1e-3, data_path=None, hflip=[0.5])
    if family == 'plain_mamba':
        path = path.with_suffix('.pth')
        meta = dict(mmcv_version='1.7.0', time='now', CLASSES=('tench', 'goldfish'), epoch=300)
        raw = {'ema_backbone_pos_embed': torch.full((2,), 9.0)}
        content = dict(meta=meta, state_dict=OrderedDict(state, **raw), optimizer=optimizer)
    elif family == 'vim':
        path = path.with_suffix('.pth')
        averaged = {key: value + 1 for key, value in state.items()}
        content = dict(
            model=state, optimizer=optimizer, lr_scheduler=dict(base_values=[1e-3], metric=None),
            epoch=299, model_ema=averaged, scaler='none', args=arguments,
        )  # fmt: skip
    elif family == 'mambavision':
        path = path.with_suffix('.pth.tar')
        content = dict(
            epoch=309, arch='mamba_vision_T', state_dict=state, optimizer=optimizer, version=2,
            args=arguments, amp_scaler=dict(scale=1.0, growth_tracker=0), metric=82.3,
        )  # fmt: skip
    else:
        path = path.with_suffix('.pth')
        content = state
    torch.save(content, path)
    return path


def write_hub_folder(folder, state, prefix='model.', config=None):
    """Writes ``config.json`` and ``model.safetensors`` as on the Hugging Face hub."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(config or {'model_type': 'mambavision'}))
    tensors = {prefix + key: value.clone().contiguous() for key, value in state.items()}
    save_file(tensors, folder / 'model.safetensors')
    return folder


def model_of(case):
    """Name and arguments for ``get_model`` that build the network of a classification case."""
    spec, kwargs = case.spec, case.spec['kwargs']
    classes = kwargs.get('num_classes', 1000)
    name, overrides = MODELS_OF[spec['family']](spec, kwargs)
    return name, dict(num_classes=classes, **overrides)


def _plain_mamba(spec, kwargs):
    if kwargs['arch']:
        return f'plain_mamba_{kwargs["arch"].lower()}', {}
    mixer = kwargs['layer_cfgs']['mamba_cfg']
    arch = dict(
        embed_dims=kwargs['embed_dims'],
        num_layers=kwargs['num_layers'],
        num_convs=kwargs['num_convs_patch_embed'],
        layers_with_dwconv=kwargs['layers_with_dwconv'],
        mixer=dict(d_state=mixer['d_state'], expand=mixer['expand'], d_conv=mixer['conv_size']),
    )
    return 'plain_mamba_l1', dict(arch=arch, img_size=kwargs['img_size'])


def _vim(spec, kwargs):
    if 'variant' in spec:
        name = spec['variant'].split(' ')[0]
        return find_model(name).name, {}
    class_token = 'middle' if kwargs['use_middle_cls_token'] else 'head'
    if kwargs['use_double_cls_token']:
        class_token = 'double'
    if not kwargs['if_cls_token']:
        class_token = 'none'
    mixer = dict(scan=kwargs['bimamba_type'], d_state=kwargs['d_state'])
    mixer |= dict(layer_scale=kwargs['init_layer_scale']) | (kwargs['ssm_cfg'] or {})
    return 'vim_tiny', dict(
        arch=dict(embed_dims=kwargs['embed_dim'], num_layers=kwargs['depth']),
        img_size=kwargs['img_size'],
        stride=kwargs['stride'],
        class_token=class_token,
        out_type='avg_featmap' if class_token == 'none' else 'cls_token',
        with_pos_embed=kwargs['if_abs_pos_embed'],
        use_rope=kwargs['if_rope'],
        use_divide_out=kwargs['if_divide_out'],
        use_rms_norm=kwargs['rms_norm'],
        use_layer_pairs=kwargs['if_bidirectional'],
        mixer=mixer,
    )


def _mambavision(spec, kwargs):
    if not spec['variant'].startswith('custom'):
        return find_model(spec['variant']).name, {}
    arch = {key: kwargs[key] for key in ('dim', 'in_dim', 'depths', 'num_heads', 'window_size')}
    arch['layer_scale'] = kwargs.get('layer_scale')
    scale = kwargs.get('layer_scale_conv')
    return 'mambavision_t', dict(arch=arch, mlp_ratio=kwargs['mlp_ratio'], layer_scale_conv=scale)


def _mambaout(spec, kwargs):
    variant = spec['variant']
    if not variant.startswith('custom'):
        name = variant if 'mambaout' in variant else f'mambaout_{variant}'
        return find_model(name).name, {}
    arch = {key: kwargs[key] for key in ('depths', 'dims', 'conv_ratio') if key in kwargs}
    return 'mambaout_tiny', dict(arch=arch, kernel_size=kwargs.get('kernel_size', 7))


MODELS_OF = dict(plain_mamba=_plain_mamba, vim=_vim, mambavision=_mambavision, mambaout=_mambaout)

# The Transformers have no golden cases; they are compared with timm's.
assert set(MODELS_OF) == {row.family for row in MODEL_TABLE.values()} - {'vit'}
