"""Which parameters the shipped recipes decay, against the lists of the official code."""

import json
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from mmvmamba import get_model
from tests.official_files import GOLDEN, golden, model_of

ROOT = Path(__file__).parents[2]
TASKS = dict(classification='cls', detection='det', segmentation='seg')
CONFIGS = dict(cls='in1k', det='maskrcnn_1x', seg='upernet_160k')
FAMILIES = ('spatial_mamba', 'mila')


def official_recipes(family):
    return json.loads((GOLDEN / family / 'optimizer_groups.json').read_text())


def official_lists(family, task):
    """Official names of the parameters without weight decay, and of the others."""
    recipes = official_recipes(family)
    recipe = recipes.get(task) or recipes['downstream']
    without = set(recipe['no_decay'])
    if 'decay' in recipe:
        return without, set(recipe['decay'])
    names = recipes['parameters_in_order']
    if task != 'classification':
        names = [f'backbone.{name}' for name in names if not name.startswith(('norm.', 'head.'))]
    return without, set(names) - without


def official_name(name, family, task):
    """The official name of one of our parameters."""
    name = name.replace('head.fc.', 'head.')
    if family == 'mila':
        return re.sub(r'^outnorm', 'norm', name.removeprefix('backbone.'))
    return name if task != 'classification' else name.removeprefix('backbone.')


def small_model(family, task):
    """The classifier of the lists, with a detector's norms of outputs where they have them."""
    case = golden(family, 'micro_64x64')
    name, overrides = model_of(case)
    if family == 'spatial_mamba':
        kwargs = official_recipes(family)['kwargs']
        overrides['arch'] = dict(
            dims=kwargs['dims'], depths=kwargs['depths'], mlp_ratio=kwargs['mlp_ratio']
        )
    if task != 'classification':
        overrides |= dict(final_norm=False, out_norm='LN2d', out_indices=(0, 1, 2, 3))
    model = get_model(name, **overrides)
    if task != 'classification':
        del model.head
    return model


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('family', FAMILIES)
def test_parameters_without_weight_decay_are_the_official_ones(family, task):
    kind = TASKS[task]
    size = 'base' if (family, task) == ('mila', 'segmentation') else 'tiny'
    recipe = Config.fromfile(ROOT / f'configs/{kind}/{family}_{size}_{CONFIGS[kind]}.py')
    optim_wrapper = dict(recipe.optim_wrapper, type='OptimWrapper')
    model = small_model(family, task)
    groups = build_optim_wrapper(model, optim_wrapper).optimizer.param_groups
    names = {p: official_name(n, family, task) for n, p in model.named_parameters()}
    ours = {True: set(), False: set()}
    for group in groups:
        ours[group['weight_decay'] > 0] |= {names[p] for p in group['params']}
    assert len(ours[True] | ours[False]) == len(names)
    without, others = official_lists(family, task)
    assert ours[False] == without
    assert ours[True] == others
