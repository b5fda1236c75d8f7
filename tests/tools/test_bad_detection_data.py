"""Bad COCO data through the tools: one message that names file and record, and no traceback."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis.task_models import build_from_config
from mmvmamba.cli.configs import load_config


@pytest.fixture
def data(toy_coco, tmp_path, monkeypatch):
    """A copy to be spoiled."""
    # Laying the config out as text takes seconds.
    monkeypatch.setattr(Config, 'pretty_text', '')
    return shutil.copytree(toy_coco, tmp_path / 'coco')


def annotations(data, split):
    return data / f'annotations/instances_{split}2017.json'


def change(data, split, kind, number, **changes):
    path = annotations(data, split)
    content = json.loads(path.read_text())
    content[kind][number].update(changes)
    path.write_text(json.dumps(content))


@pytest.fixture
def message_of(data, toy_config, tmp_path, capsys):
    def message_of(tool, *arguments, options=()):
        with pytest.raises(SystemExit) as left:
            tool.main(
                [
                    *(toy_config, *arguments, '--work-dir', str(tmp_path / 'run')),
                    '--cfg-options',
                    *(
                        f'{name}_dataloader.dataset.data_root={data}'
                        for name in ('train', 'val', 'test')
                    ),
                    *(
                        f'{name}_evaluator.ann_file={annotations(data, "val")}'
                        for name in ('val', 'test')
                    ),
                    f'visualizer.name={tmp_path.name}',
                    *options,
                ]
            )
        assert left.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        errors = [line for line in lines if line.startswith('error: ')]
        assert errors == lines[-1:]
        return errors[0]

    return message_of


def test_training_names_a_bad_record(train_tool, data, message_of):
    change(data, 'train', 'annotations', 2, id=1)
    expected = f'error: {annotations(data, "train")}: annotation id 1 occurs 2 times'
    assert message_of(train_tool) == expected


def test_training_names_a_missing_and_an_unreadable_image(train_tool, data, message_of):
    image = next((data / 'train2017').iterdir())
    image.write_bytes(b'no picture')
    found = message_of(train_tool)
    assert 'error: the image cannot be read: ' in found
    assert f'(path: {image})' in found
    image.unlink()
    assert f'is not there: {image}; 1 of 8 images' in message_of(train_tool)


def test_training_names_classes_that_do_not_fit(train_tool, message_of):
    found = message_of(
        train_tool, options=['train_dataloader.dataset.metainfo.classes=("disc","square")']
    )
    assert 'train_dataloader: the data set must have the 3 classes of the model, got 2' in found


@pytest.fixture(scope='session')
def weights(toy_config, tmp_path_factory):
    torch.manual_seed(0)
    return dict(state_dict=build_from_config(load_config(toy_config)).state_dict())


def test_a_test_names_a_bad_record_and_images_of_another_file(
    test_tool, data, weights, message_of, tmp_path
):
    checkpoint = str(tmp_path / 'weights.pth')
    torch.save(weights, checkpoint)
    other = tmp_path / 'other.json'
    content = json.loads(annotations(data, 'val').read_text())
    other.write_text(json.dumps(dict(content, images=content['images'][1:], annotations=[])))
    found = message_of(test_tool, checkpoint, options=[f'test_evaluator.ann_file={other}'])
    assert f'{other} must hold the images that were predicted on, and lacks 1 of 4' in found
    change(data, 'val', 'annotations', 0, category_id=77)
    found = message_of(test_tool, checkpoint)
    assert f'{annotations(data, "val")}: annotation 1 has category 77' in found


def test_a_test_names_weights_that_are_not_finite(test_tool, weights, message_of, tmp_path):
    spoilt = {name: value.clone() for name, value in weights['state_dict'].items()}
    spoilt['backbone.pos_embed'][:] = float('nan')
    checkpoint = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=spoilt), checkpoint)
    found = message_of(test_tool, checkpoint)
    assert found == f'error: {checkpoint} holds weights that are not finite: backbone.pos_embed'
