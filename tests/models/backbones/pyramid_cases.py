"""Golden cases of the pyramids whose official files name their parts alike."""

import re

import torch
import torch.nn.functional as F

from tests.official_files import GOLDEN, golden

DTYPES = [torch.float64, torch.float32]


def case_names(family, *starts, without=('train', 'unit')):
    """Cases with numbers, by the start of their name."""
    names = sorted(path.stem for path in (GOLDEN / family).glob('*.npz'))
    return [n for n in names if n.startswith(starts) and not any(part in n for part in without)]


def dims_of(case):
    dims = case.spec['kwargs'].get('dims', case.spec['kwargs'].get('embed_dim'))
    return tuple(dims) if isinstance(dims, list) else tuple(dims * 2**i for i in range(4))


def split_state(case, norm):
    """The backbone's part of the official state dict with our names, the head's norm and layer.

    Args:
        case: The case.
        norm: Official name of the norm before the pooling.
    """
    backbone, head = {}, {}
    for key, value in case.state_dict().items():
        if key.startswith((f'{norm}.', f'{norm.replace("norm", "head")}.')):
            head[key.removeprefix('classifier.')] = value
        else:
            backbone[re.sub(r'^norm(\d)', r'outnorm\1', key)] = value
    return backbone, head


def load(module, state, dtype):
    """Loads strictly, but for counters, which are not filled."""
    missing, unexpected = module.to(dtype).load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith('num_batches_tracked') for key in missing)
    return module


def check_case(build, family, name, dtype, norm='norm'):
    """Compares the stem, the maps of all stages, and the outputs or the logits of a case."""
    case = golden(family, name)
    is_backbone = 'backbone' in name
    state, head = split_state(case, norm)
    out_indices = case.spec['kwargs'].get('out_indices', (0, 1, 2, 3))
    backbone = build(case, out_norm='LN2d' if is_backbone else None, out_indices=out_indices)
    load(backbone.eval(), state, dtype)
    image = case.input().to(dtype)
    with torch.no_grad():
        outputs = dict(zip(backbone.out_indices, backbone(image), strict=True))
        _, maps = backbone.feature_maps(image, range(4))
        stem = backbone.embed(image).permute(0, 3, 1, 2)
    checked = {f'stage{i}': level for i, level in enumerate(maps, start=1)}
    checked['patch_embed'] = stem
    if is_backbone:
        checked |= {f'out{i}': level for i, level in outputs.items()}
    else:
        width = (maps[-1].shape[1],)
        weights = {key: value.to(dtype) for key, value in head.items()}
        last = maps[-1].permute(0, 2, 3, 1)
        normed = F.layer_norm(last, width, weights['norm.weight'], weights['norm.bias'], 1e-5)
        checked['pooled'] = normed.mean(dim=(1, 2))
        checked['logits'] = F.linear(
            checked['pooled'], weights['head.weight'], weights['head.bias']
        )
    stored = {key.split('.')[0] for key in case.arrays} - {'logits_float32_rope'}
    assert stored <= set(checked)
    for key in stored:
        case.check(key, checked[key])


def check_gradients(case, module, output, inputs, prefix='grad.'):
    """Compares the gradients of sum(output * w), as the cases' notes say."""
    from mmvmamba.testing import make_input

    weight = make_input(output.shape, 500).to(output.dtype)
    (output * weight).sum().backward()
    for name in ('x', 'grad_input'):
        if name in case.arrays or f'{name}.shape' in case.arrays:
            case.check(name, inputs.grad)
    parameters = dict(module.named_parameters())
    names = {key.removeprefix(prefix) for key in case.arrays if key.startswith(prefix)}
    names = {re.sub(r'\.(shape|mean|std|sample)$', '', name) for name in names}
    assert names
    for name in names:
        case.check(prefix + name, parameters[name].grad)
