"""The tools on a segmentor that is too small to be good, as a user runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmvmamba.datasets.toy import SEG_CLASSES, make_toy_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
CONFIG = """
_base_ = {root!r} + '/configs/_base_/default_runtime_seg.py'
size = (64, 64)
load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=size, keep_ratio=False)]
labels = dict(type='LoadAnnotations', reduce_zero_label=True)
dataset = dict(
    type='BaseSegDataset',
    data_root={data!r},
    metainfo=dict(classes={classes!r}, palette=[[40 * i] * 3 for i in range(5)]),
    reduce_zero_label=True,
    img_suffix='.jpg',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=[
            load[0],
            labels,
            load[1],
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ],
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=[*load, labels, dict(type='PackSegInputs')],
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[124, 116, 104],
        std=[58, 57, 57],
        bgr_to_rgb=True,
        size=size,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='mmvmamba.PlainMamba',
        arch=dict(embed_dims=16, num_layers=2, num_convs=0, layers_with_dwconv=()),
        img_size=64,
        drop_path_rate=0.2,
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=16,
        in_index=0,
        channels=16,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=5,
        align_corners=False,
        norm_cfg=dict(type='BN'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = [dict(type='PolyLR', power=1.0, begin=0, end=6, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=3, save_best=None), logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('seg')
    data, _ = make_toy_data(folder, 'ade20k', num_train=12, num_val=3)
    path = folder / 'toy_seg.py'
    path.write_text(CONFIG.format(root=str(ROOT), data=str(data), classes=SEG_CLASSES))
    return str(path)


def run(tool, *arguments):
    command = [sys.executable, f'tools/{tool}.py', *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    run('train', config, '--work-dir', work_dir, '--seed', 3)
    return work_dir


def test_metrics_out_files_and_pictures(config, trained, tmp_path):
    checkpoint = trained / 'iter_6.pth'
    output = run(
        *('test', config, checkpoint, '--work-dir', tmp_path / 'run'),
        *('--eval', 'mIoU', 'mDice', 'mFscore', '--show-dir', tmp_path / 'pictures'),
        *('--out', tmp_path / 'all.pkl'),
    )
    for name in ('aAcc', 'mIoU', 'mDice', 'mFscore'):
        assert re.search(rf'^\| {name} +\| +[\d.]+ \|$', output, flags=re.MULTILINE), name
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 3
    assert (tmp_path / 'all.pkl').is_file()


def test_format_only_writes_label_images(config, trained, tmp_path):
    labels = tmp_path / 'labels'
    run(
        *('test', config, trained / 'iter_6.pth', '--work-dir', tmp_path / 'run'),
        *('--format-only', labels),
    )
    written = sorted(labels.glob('*.png'))
    assert len(written) == 3
    assert np.asarray(Image.open(written[0])).max() <= len(SEG_CLASSES)


def test_iteration_based_training_resumes_to_the_same_weights(config, trained, tmp_path):
    checkpoint = trained / 'iter_3.pth'
    run('train', config, '--work-dir', tmp_path, '--resume', checkpoint)
    expected, resumed = (
        torch.load(folder / 'iter_6.pth', weights_only=True)['state_dict']
        for folder in (trained, tmp_path)
    )
    for name, value in expected.items():
        assert torch.equal(value, resumed[name]), name
