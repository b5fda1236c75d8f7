"""Writes checkpoints the way the authors' training scripts write them, from the golden cases.

The weights are filled by name; what is tested is everything around them: wrappers, prefixes,
entries that are no weights, and the names of the keys.
"""

import argparse
import json
import sys
import types
from collections import OrderedDict
from contextlib import contextmanager
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
    filled |= {
        key: rotation_table(*shape).to(dtype)
        for key, shape in case.spec['keys'].items()
        if key.endswith('rope.rotations')
    }
    return {key: filled.get(key, torch.tensor(0)) for key in case.spec['keys']}


def rotation_table(height, width, pairs, _):
    """The table that MILA's constructor computes, pair by pair: rows first, then columns."""
    table = torch.empty(height, width, pairs, 2, dtype=torch.float64)
    for pair in range(pairs):
        is_row, step = pair < pairs // 2, pair % (pairs // 2)
        places = torch.arange(height if is_row else width, dtype=torch.float64)
        angles = places / 10000 ** (step / (pairs // 2))
        angles = angles[:, None] if is_row else angles[None]
        table[:, :, pair, 0], table[:, :, pair, 1] = angles.cos(), angles.sin()
    return table


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
    elif family in ('vmamba', 'spatial_mamba', 'mila'):
        path = path.with_suffix('.pth')
        averaged = {key: value + 1 for key, value in state.items()}
        content = {
            'model': state,
            'state_dict_ema' if family == 'mila' else 'model_ema': averaged,
            'optimizer': optimizer,
            'max_accuracy': 82.6,
            'epoch': 264,
            'config': config_node(MODEL=dict(TYPE='vssm', DROP_PATH_RATE=0.2)),
        }
    else:
        path = path.with_suffix('.pth')
        content = state
    with pickled_as_yacs():
        torch.save(content, path)
    return path


class CfgNode(dict):
    """Pickled as the settings of yacs are, which need not be installed."""

    __module__ = 'yacs.config'


def config_node(**settings):
    """A node as yacs makes it: a dict whose own attributes are pickled beside its items."""
    nodes = {k: config_node(**v) if isinstance(v, dict) else v for k, v in settings.items()}
    node = CfgNode(nodes)
    node.__dict__ |= {'__immutable__': True, '__deprecated_keys__': set(), '__new_allowed__': False}
    return node


@contextmanager
def pickled_as_yacs():
    """Lets pickle find the class where a file will look for it."""
    module = types.ModuleType('yacs.config')
    module.CfgNode = CfgNode
    names = {'yacs': types.ModuleType('yacs'), 'yacs.config': module}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules |= names
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old


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


def _pyramid_arch(kwargs):
    dims = kwargs.get('dims', kwargs.get('embed_dim'))
    dims = tuple(dims) if isinstance(dims, list) else tuple(dims * 2**i for i in range(4))
    return dict(dims=dims, depths=kwargs['depths'], mlp_ratio=kwargs['mlp_ratio'])


def _vmamba(spec, kwargs):
    if not spec['variant'].startswith('custom'):
        return f'vmamba_{spec["variant"]}', {}
    arch = dict(
        _pyramid_arch(kwargs),
        ssm_ratio=kwargs['ssm_ratio'],
        d_state=kwargs['ssm_d_state'],
        with_gate=not kwargs['forward_type'].endswith('_noz'),
        with_conv_bias=kwargs['ssm_conv_bias'],
        with_patches=kwargs['patchembed_version'] == 'v1',
    )
    return 'vmamba_tiny_s1l8', dict(arch=arch)


def _spatial_mamba(spec, kwargs):
    if not spec['variant'].startswith('custom'):
        return f'spatial_mamba_{spec["variant"]}', {}
    return 'spatial_mamba_tiny', dict(arch=_pyramid_arch(kwargs), in_channels=kwargs['in_chans'])


def _mila(spec, kwargs):
    if not spec['variant'].startswith('custom'):
        return f'mila_{spec["variant"].split()[0]}', {}
    arch = dict(_pyramid_arch(kwargs), num_heads=kwargs['num_heads'])
    return 'mila_tiny', dict(arch=arch, qkv_bias=kwargs['qkv_bias'])


MODELS_OF = dict(
    plain_mamba=_plain_mamba,
    vim=_vim,
    mambavision=_mambavision,
    mambaout=_mambaout,
    vmamba=_vmamba,
    spatial_mamba=_spatial_mamba,
    mila=_mila,
)

# The Transformers have no golden cases; they are compared with timm's.
assert set(MODELS_OF) == {row.family for row in MODEL_TABLE.values()} - {'vit'}
