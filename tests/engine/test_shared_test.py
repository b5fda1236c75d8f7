"""``mmvmamba test --results``: shares of a test, kept, gone on with and put together."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvmamba.cli.main import main
from mmvmamba.datasets.toy import make_toy_data
from mmvmamba.engine.json_values import from_json, to_json
from mmvmamba.engine.shared_test import SharedTestLoop
from tests.tools.small_training import ROOT

pytest.importorskip('mmpretrain')
CONFIGS = dict(imagenet='cls_mambaout', coco='det_mambaout_maskrcnn', ade20k='seg_mambaout')
# Images of a batch of a segmentor are of one size, those of the data are not.
BATCH = dict(imagenet=2, coco=2, ade20k=1)
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ('coco', 'ade20k')]


@pytest.fixture(scope='module', params=['imagenet', *OTHERS])
def command(request, tmp_path_factory):
    """Tests an untrained model of a task on seven images."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    data, _ = make_toy_data(folder, name, num_train=1, num_val=7)
    options = [f'test_dataloader.dataset.data_root={data}', 'test_dataloader.num_workers=0']
    options += [f'test_dataloader.batch_size={BATCH[name]}']
    options += ['test_dataloader.persistent_workers=False']
    if name == 'coco':
        options += [f'test_evaluator.ann_file={data}/annotations/instances_val2017.json']
        options += ['model.test_cfg.rcnn.score_thr=0.0', 'model.test_cfg.rcnn.max_per_img=5']
        options += ['model.test_cfg.rpn.max_per_img=20']
    path = ROOT / 'configs/toy' / f'{CONFIGS[name]}.py'
    cfg = Config.fromfile(path)
    if name == 'imagenet':
        options.append('test_dataloader.dataset.type=mmpretrain.CustomDataset')
    torch.manual_seed(0)
    weights = folder / 'weights.pth'
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.get('data_preprocessor')))
    model.init_weights()
    torch.save(model.state_dict(), weights)

    def run(results, *more, checkpoint=weights):
        arguments = ['test', str(path), str(checkpoint), '--work-dir', str(folder / 'run')]
        kept = ['--results', str(results)] if results else []
        return main([*arguments, *kept, *more, '--cfg-options', *options])

    run.weights = weights
    return run


def figures(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]


def test_a_test_that_was_stopped_goes_on_to_the_same_figures(
    command, tmp_path, capsys, monkeypatch
):
    command(None)
    expected = figures(capsys)
    assert len(expected) >= 2
    results = tmp_path / 'results.jsonl'
    seen = []
    run_iter = SharedTestLoop.run_iter

    def stops(loop, idx, data_batch):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(len(data_batch['inputs']))
        return run_iter(loop, idx, data_batch)

    with monkeypatch.context() as patch:
        patch.setattr(SharedTestLoop, 'run_iter', stops)
        with pytest.raises(SystemExit, match='130'):
            command(results)
    part = tmp_path / 'results.jsonl.part00000'
    assert list(tmp_path.iterdir()) == [part]
    assert len(part.read_text().splitlines()) == 1 + seen[0] < 7
    capsys.readouterr()

    def watched(loop, idx, data_batch):
        seen.append(len(data_batch['inputs']))
        return run_iter(loop, idx, data_batch)

    monkeypatch.setattr(SharedTestLoop, 'run_iter', watched)
    command(results)
    assert sum(seen) == 7
    assert figures(capsys) == expected
    assert list(tmp_path.iterdir()) == [results]
    records = [json.loads(line) for line in results.read_text().splitlines()]
    assert [record['input'] for record in records] == [str(i) for i in range(7)]
    assert len({record['image'] for record in records}) == 7


def test_a_test_goes_on_with_its_own_checkpoint(command, tmp_path, capsys, monkeypatch):
    results = tmp_path / 'results.jsonl'
    with monkeypatch.context() as patch:
        patch.setattr(
            SharedTestLoop, 'run_iter', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(SystemExit, match='130'):
            command(results)
    other = tmp_path / 'other.pth'
    torch.save({key: value + 1 for key, value in torch.load(command.weights).items()}, other)
    capsys.readouterr()
    with pytest.raises(SystemExit, match='2'):
        command(results, checkpoint=other)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and 'was begun with another checkpoint; go on with' in line


def test_a_folder_that_cannot_be_written_is_named_before_the_test(command, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit, match='2'):
        command(tmp_path / 'file' / 'results.jsonl')
    error = capsys.readouterr().err
    assert 'the folder of the results' in error and 'name another with --results' in error


def test_values_come_back_from_json_as_they_were():
    value = {
        'counts': b'\x00\xff',
        3: [1, 2.5, None, True, 'text'],
        'pair': (np.float32(0.1), np.int64(7)),
        'boxes': np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2],
        'empty': np.zeros((0, 4)),
        'areas': torch.arange(4.0),
    }
    found = from_json(json.loads(json.dumps(to_json(value))))
    assert list(found) == list(value)
    assert found['counts'] == value['counts'] and found[3] == value[3]
    assert found['pair'] == value['pair']
    assert [type(x) for x in found['pair']] == [np.float32, np.int64]
    for name in ('boxes', 'empty'):
        assert found[name].dtype == value[name].dtype
        np.testing.assert_array_equal(found[name], value[name])
    assert torch.equal(found['areas'], value['areas'])


@pytest.mark.parametrize('value', [object(), {'a': {1}}, np.array([object()])])
def test_what_has_no_form_in_json_is_named(value):
    with pytest.raises(TypeError, match=r'a (object|set|ndarray) cannot be written as JSON'):
        to_json(value)
