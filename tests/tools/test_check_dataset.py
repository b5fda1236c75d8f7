"""The tool that checks data sets, and the same faults met by training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mmvmamba.datasets.errors import LabelMismatchError, SourceError
from mmvmamba.datasets.toy import make_toy_data
from mmvmamba.engine import LabelRangeHook, Runner

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs/toy/seg_mambaout.py')


@pytest.fixture(scope='module')
def check(check_dataset_tool):
    return check_dataset_tool.main


@pytest.fixture
def ade(tmp_path):
    folder, _ = make_toy_data(tmp_path, 'ade20k', num_train=4, num_val=2)
    return folder


def options(folder):
    return ['--cfg-options'] + [
        f'{split}_dataloader.dataset.data_root={folder}' for split in ('train', 'val', 'test')
    ]


def mask_of(folder, number, split='training'):
    return folder / f'annotations/{split}/ADE_{split[:5]}_{number:08d}.png'


def test_sound_data_end_with_code_0(check, ade, capsys):
    assert check([CONFIG, *options(ade)]) == 0
    out, err = capsys.readouterr()
    assert out == 'train: no fault\nval: no fault\n', 'test has the data of val'
    assert '4 of 4 images' in err


def test_faults_are_listed_and_end_with_code_1(check, ade, capsys, tmp_path):
    for number in (1, 2, 3):
        mask_of(ade, number).unlink()
    report = tmp_path / 'faults.txt'
    code = check([CONFIG, '--quiet', '--show', '1', '--out', str(report), *options(ade)])
    assert code == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == 'train: 3 faults'
    assert lines[1].endswith(f'ADE_train_00000001.jpg: its mask {mask_of(ade, 1)} is missing')
    assert lines[2:] == ['  and 2 more', 'val: no fault']
    assert 'img/s' not in err
    rows = [line.split('\t') for line in report.read_text().splitlines()]
    assert [row[0] for row in rows] == ['train'] * 3
    assert [row[1] for row in rows] == ['fault'] * 3
    assert rows[2][2].endswith('ADE_train_00000003.jpg')


def test_only_the_named_split_is_read(check, ade, capsys):
    mask_of(ade, 1).unlink()
    assert check([CONFIG, '--quiet', '--split', 'val', *options(ade)]) == 0
    assert capsys.readouterr().out == 'val: no fault\n'


def test_bad_input_ends_with_code_2(check, tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        check([CONFIG, '--split', 'val', *options(tmp_path / 'nowhere')])
    assert 'nowhere does not exist' in capsys.readouterr().err


def test_detection_and_classification_configs_are_read_too(check, toy_config, tmp_path, capsys):
    coco, _ = make_toy_data(tmp_path, 'coco', num_train=3, num_val=2)
    path = coco / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['bbox'] = [0, 0, 0, 5]
    content['annotations'][1]['bbox'] = [0, 0, 1e9, 5]
    path.write_text(json.dumps(content))
    assert check([toy_config, '--quiet', '--split', 'train', *options(coco)]) == 1
    first, fault, note = capsys.readouterr().out.splitlines()
    assert first == 'train: 1 fault, 1 note'
    assert fault.startswith(
        f'  {path}: annotation 2 has a box [0, 0, 1000000000.0, 5] that reaches'
    )
    assert note == f'  note: {path}: annotation 1 has a box [0, 0, 0, 5] without area, ' + (
        'which is left out'
    )
    content['annotations'][1]['bbox'] = [0, 0, 5, 5]
    path.write_text(json.dumps(content))
    assert check([toy_config, '--quiet', '--split', 'train', *options(coco)]) == 0
    assert capsys.readouterr().out.startswith('train: no fault, 1 note')
    images, _ = make_toy_data(tmp_path, 'imagenet', num_train=12, num_val=6)
    broken = images / 'val/disc/disc_000000.JPEG'
    broken.write_bytes(broken.read_bytes()[:200])
    settings = [*options(images), 'model.head.num_classes=6']
    code = check(
        [str(ROOT / 'configs/cls/finetune_example.py'), '--quiet', '--split', 'val', *settings]
    )
    assert code == 1
    assert f'{broken}: the image cannot be read' in capsys.readouterr().out


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_runs_refuse_masks_that_are_missing(tool, ade, tmp_path, capsys, request):
    mask_of(ade, 2, 'validation').unlink()
    (tmp_path / 'x.pth').touch()
    arguments = [str(tmp_path / 'x.pth')] if tool == 'test' else []
    with pytest.raises(SystemExit, match='2'):
        main = request.getfixturevalue(f'{tool}_tool').main
        main([CONFIG, *arguments, '--work-dir', str(tmp_path), *options(ade)])
    message = capsys.readouterr().err
    assert f'its mask {mask_of(ade, 2, "validation")} is missing; ' in message
    assert f'mmvmamba data check {CONFIG} lists all' in message


def test_an_empty_split_is_named_when_its_loader_is_built(tmp_path):
    (tmp_path / 'images').mkdir()
    loader = dict(
        batch_size=1,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='mmseg.BaseSegDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images'),
            pipeline=[],
        ),
    )
    with pytest.raises(SourceError, match=rf'the split is empty.*path: {tmp_path}'):
        Runner.build_dataloader(loader)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.decode_head = ConfigDict(num_classes=3, ignore_index=255)


def batch(labels):
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.as_tensor(labels)))
    sample.set_metainfo(dict(seg_map_path='masks/7.png', ori_shape=(2, 2)))
    return dict(inputs=[], data_samples=[sample])


@pytest.mark.parametrize('step', ['before_train_iter', 'before_val_iter', 'before_test_iter'])
def test_labels_out_of_range_name_their_file(step):
    runner = ConfigDict(model=None)
    runner.model = Model()
    check = getattr(LabelRangeHook(), step)
    check(runner, 0, batch([[[0, 1], [2, 255]]]))
    with pytest.raises(LabelMismatchError, match=r'0 to 2 or 255, got 3, 9 \(path: masks/7'):
        check(runner, 0, batch([[[3, 9], [2, 255]]]))


def test_palette_images_are_read_as_labels(check, ade):
    path = mask_of(ade, 1)
    labels = Image.open(path)
    coloured = Image.fromarray(np.asarray(labels), mode='P')
    coloured.putpalette([1, 2, 3] * 256)
    coloured.save(path)
    assert check([CONFIG, '--quiet', '--split', 'train', *options(ade)]) == 0
