"""Files of detectors and segmentors, loaded by name, give the official numbers."""

import pytest
import torch
from mmengine.config import Config

from mmvmamba import get_model
from mmvmamba.apis.task_models import build_from_config, task_configs
from mmvmamba.checkpoint import convert, fit_model, load_model
from mmvmamba.testing import fill_state_dict
from tests.official_files import GOLDEN, golden, rotation_table, state_of

SCHEDULES = dict(maskrcnn='1x', upernet='160k')
WITH_NUMBERS = [
    ('spatial_mamba', 'mask_rcnn_tiny_64x96'),
    ('spatial_mamba', 'upernet_tiny_96x160'),
    ('mila', 'tiny_mask_rcnn_64x96'),
    ('mila', 'base_upernet_96x160'),
]
KEYS = [
    (family, path.stem)
    for family in ('spatial_mamba', 'mila')
    for path in sorted((GOLDEN / family).glob('*.json'))
    if 'mask_rcnn' in path.stem or 'upernet' in path.stem
]
# Parameters in millions, of Mask R-CNN and of UperNet: the release's own count.
VMAMBA_SIZES = dict(
    tiny_s1l8=(49.76, 61.90), small_s2l15=(69.65, 81.80), base_s2l15=(107.93, 122.07)
)


def name_of(case):
    """The name of our model that a case is of."""
    head = 'maskrcnn' if 'mask_rcnn' in case.name else 'upernet'
    size = next(size for size in ('tiny', 'small', 'base') if size in case.name)
    return f'{case.spec["family"]}_{size}_{head}_{SCHEDULES[head]}'


def content_of(family, state):
    """What the authors' training of a detector or segmentor writes."""
    if family == 'mila':
        meta = dict(mmcv_version='1.7.0', time='now', CLASSES=('wall', 'building'), epoch=12)
    else:
        meta = dict(mmengine_version='0.10.1', experiment_name='some', epoch=12, iter=7)
    return dict(meta=meta, state_dict=state)


def load(name, path, dtype):
    """Loads by name; in double precision into a model that is in it already."""
    if dtype is torch.float32:
        return get_model(name, pretrained=path)
    model = get_model(name).double()
    load_model(model, path)
    return model


def outputs_of(model, images):
    """All that the cases have numbers of."""
    maps = model.backbone(images)
    outputs = {f'out{i}': level for i, level in enumerate(maps)}
    if hasattr(model, 'rpn_head'):
        levels = model.neck(maps)
        scores, boxes = model.rpn_head(levels)
        for i, parts in enumerate(zip(levels, scores, boxes, strict=True), start=1):
            outputs |= zip((f'p{i}', f'head_cls{i}', f'head_reg{i}'), parts, strict=True)
    else:
        outputs['decode_logits'] = model.decode_head(maps)
        outputs['aux_logits'] = model.auxiliary_head(maps)
    return outputs


def check_outputs(case, model, dtype):
    with torch.no_grad():
        outputs = outputs_of(model, case.input().to(dtype))
    stored = {key.split('.')[0] for key in case.arrays}
    assert stored and stored <= set(outputs)
    for key in stored:
        case.check(key, outputs[key])


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(('family', 'name'), WITH_NUMBERS)
def test_official_file_gives_official_numbers(family, name, dtype, tmp_path):
    case = golden(family, name)
    path = tmp_path / 'official.pth'
    torch.save(content_of(family, state_of(case, dtype)), path)
    check_outputs(case, load(name_of(case), path, dtype), dtype)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
def test_file_of_a_vmamba_detector_gives_official_maps(dtype, tmp_path):
    """There are official numbers of the backbone alone; the other parts are filled by our names."""
    case, name = golden('vmamba', 'backbone_tiny_s1l8_128x160'), 'vmamba_tiny_s1l8_maskrcnn_1x'
    own = {
        key: value.shape
        for key, value in meta_model(name).state_dict().items()
        if not key.startswith('backbone.')
    }
    state = {f'backbone.{key}': value for key, value in state_of(case, dtype).items()}
    state |= {key: value.to(dtype) for key, value in fill_state_dict(own).items()}
    torch.save(content_of('vmamba', state), tmp_path / 'official.pth')
    check_outputs(case, load(name, tmp_path / 'official.pth', dtype), dtype)


def meta_model(name):
    """The model of a name without memory for its weights."""
    with torch.device('meta'):
        return build_from_config(Config.fromfile(task_configs()[name]))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(('family', 'name'), KEYS)
def test_official_file_has_every_key_of_the_model_and_no_other(family, name):
    case = golden(family, name)
    model = meta_model(name_of(case))
    state, tables = {}, 0
    for key, shape in case.spec['keys'].items():
        is_table = key.endswith('rope.rotations')
        tables += is_table
        # The loader looks at the values of tables.
        state[key] = rotation_table(*shape) if is_table else torch.empty(shape, device='meta')
    weights = convert(content_of(family, state), name)
    assert weights.family == family
    fitted = fit_model(model, weights)
    assert len(fitted.state_dict) == len(state) - tables
    assert not fitted.new
    assert count(model) == case.spec['parameters']
    assert count(model.backbone) == case.spec['parameters_backbone']


@pytest.mark.parametrize('arch', VMAMBA_SIZES)
def test_vmamba_detectors_and_segmentors_have_the_official_sizes(arch):
    for head, millions in zip(SCHEDULES, VMAMBA_SIZES[arch], strict=True):
        model = meta_model(f'vmamba_{arch}_{head}_{SCHEDULES[head]}')
        assert round(count(model) / 1e6, 2) == millions
