"""The same seed gives the same losses on the CPU, for each task and any number of workers."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvmamba.cli.training import build_runner
from mmvmamba.datasets.lmdb.writer import BuildOptions, create_lmdb
from mmvmamba.datasets.toy import make_toy_data
from tests.engine.exact_runs import Recorder, difference

pytestmark = pytest.mark.slow

TOY = Path(__file__).parents[2] / 'configs' / 'toy'
IMAGES, BATCH, STEPS = 20, 4, 20
NAMES = map('repeatable {}'.format, itertools.count())
# Configs, data, and what has them draw in every place: samples, batches, layers.
TASKS = {
    'classification': (
        'cls_mambavision.py',
        'imagenet',
        {
            'model.train_cfg': dict(_delete_=True, augments=[dict(type='Mixup', alpha=0.8)]),
            'model.backbone.drop_path_rate': 0.2,
            'custom_hooks.0.start_epoch': 1,
        },
    ),
    'detection': ('det_plain_mamba_maskrcnn.py', 'coco', {'model.backbone.drop_path_rate': 0.2}),
    'segmentation': ('seg_vim.py', 'ade20k', {'model.backbone.drop_path_rate': 0.2}),
}


class LossRecorder(Recorder):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps[runner.iter] = {name: value.tolist() for name, value in outputs.items()}
        self.stop(runner)


@pytest.fixture(scope='module', params=TASKS)
def task(request, tmp_path_factory):
    """Name of a task, and a function that trains it and returns losses by step and weights."""
    file, data, changes = TASKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    root, _ = make_toy_data(folder, data, num_train=IMAGES, num_val=1)
    if data == 'imagenet':
        create_lmdb(root / 'train', root / 'train.lmdb', options=BuildOptions(workers=0))

    def train(workers=0, stop_after=None, resume=False):
        cfg = Config.fromfile(TOY / file)
        by_epoch = cfg.train_cfg.get('by_epoch') or 'max_epochs' in cfg.train_cfg
        length = dict(max_epochs=STEPS * BATCH // IMAGES) if by_epoch else dict(max_iters=STEPS)
        cfg.merge_from_dict(
            {
                'train_dataloader.dataset.data_root': str(root),
                'train_dataloader.num_workers': workers,
                'train_dataloader.persistent_workers': workers == 4,
                'train_dataloader.batch_size': BATCH,
                **{f'train_cfg.{name}': value for name, value in length.items()},
                **copy.deepcopy(changes),
            }
        )
        for split, part in itertools.product(('val', 'test'), ('dataloader', 'cfg', 'evaluator')):
            cfg[f'{split}_{part}'] = None
        cfg.default_hooks.checkpoint = None
        cfg.update(
            work_dir=str(folder),
            experiment_name=next(NAMES),
            randomness=dict(seed=3),
            log_level='ERROR',
        )
        if resume:
            cfg.update(load_from=str(folder / 'stopped.pth'), resume=True)
        runner = build_runner(cfg)
        recorder = LossRecorder(stop_after)
        runner.register_hook(recorder)
        try:
            runner.train()
        except KeyboardInterrupt:
            return recorder.steps, None
        return recorder.steps, runner.model.state_dict()

    return train


@pytest.fixture(scope='module')
def whole(task):
    """Losses and weights of a run that was not stopped, without workers."""
    steps, weights = task()
    assert sorted(steps) == list(range(STEPS))
    assert all(torch.isfinite(torch.tensor(losses['loss'])) for losses in steps.values())
    return steps, weights


@pytest.mark.parametrize('workers', [1, 4])
def test_workers_change_nothing(workers, task, whole):
    assert difference(whole, task(workers)) is None


def test_a_stopped_run_goes_on_to_the_same_end(task, whole):
    before, _ = task(workers=1, stop_after=12)
    after, weights = task(workers=2, resume=True)
    assert difference(whole, ({**before, **after}, weights)) is None


def test_two_threads_repeat_themselves(task, whole):
    torch.set_num_threads(2)
    try:
        first, second = task(), task()
    finally:
        torch.set_num_threads(1)
    assert difference(first, second) is None
    assert first[0][0]['loss'] == pytest.approx(whole[0][0]['loss'], rel=1e-4)
