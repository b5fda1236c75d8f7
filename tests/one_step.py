"""One step of training and one evaluation of a config, in this process."""

from pathlib import Path
from unittest.mock import patch

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmvmamba.cli.training import build_runner

__all__ = ['toy_data_options', 'train_one_step']


def toy_data_options(folder: Path, has_annotation_file: bool = False) -> dict[str, object]:
    """Options that point a config at a data set, of which two images of each split are taken."""
    options: dict[str, object] = {}
    for name in ('train', 'val'):
        loader = f'{name}_dataloader'
        options[f'{loader}.dataset.data_root'] = str(folder)
        options[f'{loader}.dataset.indices'] = 2
        options[f'{loader}.batch_size'] = 2 if name == 'train' else 1
        options[f'{loader}.num_workers'] = 0
        options[f'{loader}.persistent_workers'] = False
    if has_annotation_file:
        options['val_evaluator.ann_file'] = f'{folder}/annotations/instances_val2017.json'
    return options


def train_one_step(cfg: Config, work_dir: Path) -> Runner:
    """Runs the tools' runner for a step and an evaluation; the step must change every part.

    Args:
        cfg: The config, whose training data make up one batch.
        work_dir: An empty folder.
    """
    length = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
    name = Path(cfg.filename).stem
    cfg.merge_from_dict(
        {
            f'train_cfg.{length}': 1,
            'train_cfg.val_interval': 1,
            'default_hooks.checkpoint.interval': -1,
            'default_hooks.checkpoint.save_last': False,
            'default_hooks.checkpoint.save_best': None,
            'work_dir': str(work_dir),
            # mmengine keeps these by their names.
            'experiment_name': name,
            'visualizer.name': name,
            'log_level': 'ERROR',
            'randomness.seed': 0,
        }
    )
    # Laying the config out as text takes longer than the step.
    with patch.object(Config, 'pretty_text', ''):
        runner = build_runner(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    runner.train()
    assert runner.iter == 1
    changed = set()
    for name, parameter in runner.model.named_parameters():
        assert parameter.isfinite().all(), name
        if not torch.equal(parameter, before[name]):
            changed.add(name.split('.')[0])
    trained = {name.split('.')[0] for name, p in runner.model.named_parameters() if p.requires_grad}
    assert changed == trained
    return runner
