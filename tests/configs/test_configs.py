"""Every file under configs/ loads and builds, and says nothing that nobody reads."""

import os
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from mmvmamba.cli.config_keys import KNOWN_KEYS
from mmvmamba.cli.configs import TASKS, load_config, task_of
from mmvmamba.cli.errors import UserError
from mmvmamba.models.backbones import BaseBackbone

ROOT = Path(__file__).parents[2] / 'configs'
EXPERIMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob('*.py')
    if '_base_' not in path.parts and '__pycache__' not in path.parts
)
FOLDERS = {'det': 'detection', 'seg': 'segmentation', 'cls': 'classification'}

# Parameters in millions of the complete models built from the official configs.
PLAIN_MAMBA_PARAMETERS = {
    'det/l1_maskrcnn_1x.py': 31.21,
    'det/l2_maskrcnn_1x.py': 53.20,
    'det/l3_maskrcnn_1x.py': 79.78,
    'det/l1_retinanet_1x.py': 19.36,
    'det/l2_retinanet_1x.py': 41.30,
    'det/l3_retinanet_1x.py': 67.86,
}


def used_as_variable(key: str) -> bool:
    """Whether some file sets the name and also reads it."""
    word = re.compile(rf'\b{key}\b')
    return any(len(word.findall(path.read_text())) > 1 for path in ROOT.rglob('*.py'))


def build_model(cfg: Config) -> torch.nn.Module:
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def test_no_config_is_overlooked():
    found = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(ROOT)
        for name in names
        if name.endswith('.py') and '_base_' not in folder
    ]
    assert len(found) == len(EXPERIMENTS)
    assert len(EXPERIMENTS) >= 30


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_config_builds(name):
    cfg = load_config(str(ROOT / name))
    unread = [key for key in set(cfg) - set(KNOWN_KEYS) if not used_as_variable(key)]
    assert not unread, f'{name} sets {sorted(unread)}, which nothing reads'
    assert cfg.default_scope in TASKS
    folder, _, file_name = name.partition('/')
    kind = folder if folder in FOLDERS else file_name.partition('_')[0]
    assert task_of(cfg) == FOLDERS[kind]
    # The learning rate is made for some whole number of GPUs.
    gpus, rest = divmod(cfg.auto_scale_lr.base_batch_size, cfg.train_dataloader.batch_size)
    assert gpus >= 1 and rest == 0
    backbone = build_model(cfg).backbone
    assert isinstance(backbone, BaseBackbone)
    assert all(parameter.is_meta and parameter.numel() for parameter in backbone.parameters())


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_config_says_where_it_comes_from(name):
    text = (ROOT / name).read_text()
    header = text[: text.index('\n_base_ = ')]
    assert f'configs/{name}' in header, 'the header gives the command'


@pytest.mark.parametrize('name', PLAIN_MAMBA_PARAMETERS)
def test_plain_mamba_detectors_have_the_official_size(name):
    model = build_model(load_config(str(ROOT / name)))
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert round(millions, 2) == PLAIN_MAMBA_PARAMETERS[name]


def test_plain_mamba_detectors_decay_the_official_parameters():
    cfg = load_config(str(ROOT / 'det/l1_maskrcnn_1x.py'))
    model = build_model(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {id(g['params'][0]): g['weight_decay'] for g in wrapper.param_groups}
    decays = {name: decay[id(p)] for name, p in model.named_parameters()}
    for name in (
        'backbone.interactions.0.injector.gamma',
        'backbone.patch_embed.stem.1.weight',
        'backbone.layers.0.dw.1.weight',
        'backbone.spm.stem.1.weight',
        'neck.lateral_convs.0.bn.weight',
        'backbone.layers.0.mamba.in_proj.weight',
    ):
        assert decays[name] == 0.05, name
    for name in (
        'backbone.layers.0.mamba.conv2d.bias',
        'backbone.layers.0.mamba.A_log',
        'backbone.layers.0.mamba.D',
        'backbone.layers.0.mamba.direction_Bs',
        'backbone.layers.0.norm.weight',
        'backbone.ad_norm1.weight',
        'backbone.level_embed',
        'backbone.pos_embed',
    ):
        assert decays[name] == 0.0, name


def test_misspelt_top_level_key_is_refused(tmp_path):
    path = tmp_path / 'experiment.py'
    path.write_text("default_scope = 'mmdet'\ntrain_dataloder = dict(batch_size=2)\n")
    with pytest.raises(UserError, match="'train_dataloder'; did you mean 'train_dataloader'"):
        load_config(str(path))
