"""Vim, its mixer and its feature pyramids against the numbers of the official models."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mmvmamba.models.backbones import VisionMamba
from mmvmamba.models.backbones.vim_mixer import BidirectionalMamba
from mmvmamba.models.necks import SimpleFPN, ViTFeaturePyramid
from mmvmamba.ops.scan_order import reversed_order
from mmvmamba.ops.selective_scan import available_backends, scan_backend
from mmvmamba.testing import GoldenCase

GOLDEN = Path(__file__).parents[2] / 'golden' / 'vim'
DTYPES = [torch.float64, torch.float32]

each_dtype = pytest.mark.parametrize('dtype', DTYPES, ids=str)


def cases(pattern, slow=()):
    """The names of cases, those in ``slow`` marked so."""
    names = sorted(path.stem for path in GOLDEN.glob(f'{pattern}.json'))
    assert names
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]


def settings_of(kwargs):
    """Our arguments for those of the official constructors."""
    class_token = 'none'
    if kwargs['if_cls_token']:
        class_token = 'middle' if kwargs['use_middle_cls_token'] else 'head'
        class_token = 'double' if kwargs['use_double_cls_token'] else class_token
    mixer = dict(scan=kwargs['bimamba_type'], d_state=kwargs['d_state'])
    return dict(
        arch=dict(embed_dims=kwargs['embed_dim'], num_layers=kwargs['depth']),
        in_channels=kwargs['channels'],
        img_size=kwargs['img_size'],
        patch_size=kwargs['patch_size'],
        stride=kwargs['stride'],
        class_token=class_token,
        with_pos_embed=kwargs['if_abs_pos_embed'],
        use_rope=kwargs['if_rope'],
        use_divide_out=kwargs['if_divide_out'],
        use_rms_norm=kwargs['rms_norm'],
        use_layer_pairs=kwargs.get('if_bidirectional', False),
        mixer=dict(
            mixer, layer_scale=kwargs.get('init_layer_scale'), **(kwargs.get('ssm_cfg') or {})
        ),
    )


def load(module, state, dtype):
    """Loads all but the rotation tables, which the cases leave as the constructor made them."""
    module = module.to(dtype).eval()
    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    assert shapes == {name: list(tensor.shape) for name, tensor in state.items()}
    tables = {name: value for name, value in module.state_dict().items() if 'freqs_' in name}
    module.load_state_dict({**state, **tables})
    return module


def state_of(case):
    # The counters of BatchNorm are not filled.
    counters = [name for name in case.spec['keys'] if name.endswith('num_batches_tracked')]
    return {**case.state_dict(), **{name: torch.tensor(0) for name in counters}}


def parts_of(case, *prefixes):
    """The state dict of a case, parted by prefix; the last part is what remains."""
    state = state_of(case)
    parts = [
        {name[len(prefix) :]: state.pop(name) for name in list(state) if name.startswith(prefix)}
        for prefix in prefixes
    ]
    return [*parts, state]


def tolerance_of(case, dtype):
    # The tables of rope are computed in float32 by the official code and by ours.
    return 1e-6 if dtype == torch.float64 and case.spec['kwargs']['if_rope'] else None


def logits_of(model, x, head, pooling='none'):
    """Classifies by the class token, or by what the official code pools where there is none."""
    x = model(x)[0]
    if model.out_type == 'raw' and pooling == 'none':
        x = x[:, -1]
    logits = F.linear(x, head['weight'].to(x), head['bias'].to(x))
    return logits.amax(1) if pooling == 'max' else logits


def check_classifier(case, dtype, settings):
    head, state = parts_of(case, 'head.')
    pooling = case.spec['kwargs']['final_pool_type']
    out_type = 'cls_token'
    if not case.spec['kwargs']['if_cls_token']:
        out_type = 'avg_featmap' if pooling == 'mean' else 'raw'
    model = load(VisionMamba(out_type=out_type, **settings), state, dtype)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count + sum(value.numel() for value in head.values()) == case.spec['num_parameters']
    with torch.no_grad():
        logits = logits_of(model, case.input().to(dtype), head, pooling)
    case.check('logits', logits, tolerance_of(case, dtype))


@pytest.mark.parametrize(
    ('dtype', 'backend'),
    [(dtype, backend) for dtype in DTYPES for backend in available_backends('cpu', dtype)],
    ids=str,
)
@pytest.mark.parametrize('name', cases('mixer_*'))
def test_mixer_matches_official_numbers(name, backend, dtype):
    case = GoldenCase(GOLDEN / name)
    kwargs = case.spec['kwargs']
    mixer = BidirectionalMamba(
        kwargs['d_model'],
        scan=kwargs['bimamba_type'],
        use_divide_out=kwargs.get('if_divide_out', True),
        layer_scale=kwargs.get('init_layer_scale'),
    )
    mixer = load(mixer, state_of(case), dtype)
    x = case.input().to(dtype)
    with scan_backend(backend):
        case.check('output', mixer(x, reversed_order(x.shape[1])))


@each_dtype
@pytest.mark.parametrize(
    'name',
    [n for n in cases('micro_*') if 'rule' not in n and 'aware' not in n and 'traced' not in n],
)
def test_classifier_matches_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / name)
    check_classifier(case, dtype, settings_of(case.spec['kwargs']))


ROWS = dict(
    vim_tiny_224='tiny',
    vim_tiny_stride8_224='tiny_plus',
    vim_tiny_legacy_73p1_224='tiny_legacy',
    vim_small_224='small',
    vim_small_stride8_224='small_plus',
    vim_base_224='base',
)


SLOW = {'vim_tiny_stride8_224', 'vim_small_stride8_224', 'vim_base_224'}


@each_dtype
@pytest.mark.parametrize('name', cases('vim_*_224', slow=SLOW))
def test_released_classifier_matches_official_numbers(name, dtype):
    check_classifier(GoldenCase(GOLDEN / name), dtype, dict(arch=ROWS[name]))


@each_dtype
def test_tokens_and_every_block_match_official_numbers(dtype):
    case = GoldenCase(GOLDEN / 'micro_traced')
    _, state = parts_of(case, 'head.')
    settings = settings_of(case.spec['kwargs'])
    model = load(VisionMamba(out_type='cls_token', **settings), state, dtype)
    blocks = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _, inputs, output: blocks.append(output))
    x = case.input().to(dtype)
    case.check('tokens', model.embed(x)[0])
    case.check('features', model(x)[0])
    assert len(blocks) == 4
    for i, (hidden, residual) in enumerate(blocks):
        case.check(f'layer{i}.hidden', hidden)
        case.check(f'layer{i}.residual', residual)


@each_dtype
@pytest.mark.parametrize('name', cases('micro_*_rule') + cases('micro_*_aware'))
def test_checkpoint_of_another_grid_matches_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / name)
    head, state = parts_of(case, 'head.')
    settings = settings_of(case.spec['kwargs'])
    rule = {'upstream': 'upstream', 'middle_aware': 'token_aware'}[case.spec['pos_embed_rule']]
    source = dict(
        settings, img_size=case.spec['source_img_size'], stride=case.spec['source_stride']
    )
    # Resized when the checkpoint is loaded.
    model = VisionMamba(out_type='cls_token', position_resize=rule, **settings).to(dtype).eval()
    model.load_state_dict(state)
    case.check('pos_embed', model.pos_embed)
    case.check('logits', logits_of(model, case.input().to(dtype), head))
    # Resized when the image comes.
    if source['stride'] == settings['stride']:
        model = load(
            VisionMamba(out_type='cls_token', position_resize=rule, **source), state, dtype
        )
        case.check('logits', logits_of(model, case.input().to(dtype), head))


@each_dtype
@pytest.mark.parametrize('name', cases('seg_*', slow={'seg_vim_tiny_512', 'seg_vim_small_512'}))
def test_segmentation_features_match_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / name)
    kwargs = case.spec['kwargs']
    settings = settings_of({**kwargs, 'if_cls_token': False})
    model = VisionMamba(
        out_indices=kwargs['out_indices'],
        feature='residual' if kwargs['use_residual_as_feature'] else 'hidden',
        last_layer_process=kwargs['last_layer_process'],
        **settings,
    )
    fpn, state = parts_of(case, 'fpn')
    if model.norm_f is None:
        # Official files hold a final norm that these models never use.
        del state['norm_f.weight']
    model = load(model, state, dtype)
    with torch.no_grad():
        maps = model(case.input().to(dtype))
        if kwargs['if_fpn']:
            fpn = {f'fpn{name}': value for name, value in fpn.items()}
            maps = load(ViTFeaturePyramid(kwargs['embed_dim']), fpn, dtype)(maps)
    assert len(maps) == 4
    for i, x in enumerate(maps):
        case.check(f'out{i}', x, tolerance_of(case, dtype))


@each_dtype
@pytest.mark.parametrize('name', cases('det_*', slow={'det_vim_tiny_1024'}))
def test_detection_features_match_official_numbers(name, dtype):
    case = GoldenCase(GOLDEN / name)
    kwargs, tolerance = case.spec['kwargs'], tolerance_of(case, dtype)
    process = kwargs['last_layer_process']
    model = VisionMamba(last_layer_process=process, **settings_of(kwargs))
    pyramid, state = parts_of(case, 'simfp_')
    state = {name.removeprefix('net.'): value for name, value in state.items()}
    model = load(model, state, dtype)
    with torch.no_grad():
        maps = model(case.input().to(dtype))
        case.check('last_feat', maps[0], tolerance)
        if 'pyramid' in case.spec:
            neck = SimpleFPN(kwargs['embed_dim'], case.spec['pyramid']['out_channels'])
            pyramid = {f'simfp_{name}': value for name, value in pyramid.items()}
            levels = load(neck, pyramid, dtype)(maps)
            assert len(levels) == 5
            for i, x in enumerate(levels):
                case.check(f'p{i + 2}', x, tolerance)
