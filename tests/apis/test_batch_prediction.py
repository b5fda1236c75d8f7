"""Predictions for many images: shared, resumed, in one file; and under Ray."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import mmvmamba
from mmvmamba.apis.batch_prediction import BatchClassifier, list_images, predict_all
from mmvmamba.datasets.lmdb.options import BuildOptions
from mmvmamba.datasets.lmdb.shards import shard_path
from mmvmamba.datasets.lmdb.sources import list_source
from mmvmamba.datasets.lmdb.writer import LMDBWriter
from mmvmamba.engine import shared_results
from mmvmamba.engine.shared_results import SharedResults


@pytest.fixture
def images(tmp_path):
    for i in range(7):
        folder = tmp_path / 'images' / 'ab'[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')
    return tmp_path / 'images'


def as_process(monkeypatch, rank, processes):
    monkeypatch.setattr(shared_results, 'get_rank', lambda: rank)
    monkeypatch.setattr(shared_results, 'get_world_size', lambda: processes)


def lengths(inputs):
    return [{'length': len(item)} for item in inputs]


def test_shares_are_put_together_in_the_order_of_the_inputs(tmp_path, monkeypatch):
    inputs = [f'{"x" * (i % 5)}{i}' for i in range(11)]
    out = tmp_path / 'new' / 'results.jsonl'
    seen = []
    monkeypatch.setattr(SharedResults, 'put_together', lambda _: None)
    for rank in (1, 2, 0):
        as_process(monkeypatch, rank, 3)
        if rank == 0:
            monkeypatch.undo()
            as_process(monkeypatch, rank, 3)
        predict_all(lambda batch: seen.append(batch) or lengths(batch), inputs, out, batch_size=3)
    assert sorted(item for batch in seen for item in batch) == sorted(inputs)
    assert max(map(len, seen)) == 3
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert records == [{'input': item, 'length': len(item)} for item in inputs]
    assert [path.name for path in out.parent.iterdir()] == ['results.jsonl']


def test_a_run_that_was_killed_goes_on_with_another_number_of_processes(tmp_path, monkeypatch):
    inputs = [str(i) for i in range(10)]
    out = tmp_path / 'results.jsonl'

    def dies(batch):
        if '7' in batch:
            raise KeyboardInterrupt
        return lengths(batch)

    as_process(monkeypatch, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        predict_all(dies, inputs, out, batch_size=1)
    # The kill came amid a line.
    with open(tmp_path / 'results.jsonl.part00001', 'a') as part:
        part.write('{"input": "7", "len')
    assert not out.exists()
    as_process(monkeypatch, 0, 1)
    seen = []
    assert predict_all(lambda batch: seen.extend(batch) or lengths(batch), inputs, out) == 3
    assert seen == ['0', '2', '4', '6', '7', '8', '9']
    assert [json.loads(line)['input'] for line in out.read_text().splitlines()] == inputs
    assert list(tmp_path.iterdir()) == [out]


def test_the_process_that_was_killed_amid_a_line_goes_on_behind_the_last_whole_one(
    tmp_path, monkeypatch
):
    out = tmp_path / 'results.jsonl'
    (tmp_path / 'results.jsonl.part00000').write_text(
        '{"results of": {}}\n{"input": "0", "length": 1}\n{"inp'
    )
    assert predict_all(lengths, ['0', '1'], out) == 1
    assert [json.loads(line)['input'] for line in out.read_text().splitlines()] == ['0', '1']


def test_a_run_goes_on_with_the_model_that_it_began_with(tmp_path):
    out = tmp_path / 'results.jsonl'

    def dies(batch):
        raise KeyboardInterrupt

    origin = dict(model='vim_tiny', weights='a')
    with pytest.raises(KeyboardInterrupt):
        predict_all(dies, ['0'], out, origin=origin)
    with pytest.raises(ValueError, match=r'jsonl\.part00000 was begun with another weights; go on'):
        predict_all(lengths, ['0'], out, origin={**origin, 'weights': 'b'})
    assert predict_all(lengths, ['0'], out, origin=origin) == 0


def test_folders_and_databases_give_the_same_predictions(images, tmp_path):
    listing = list_source(images)
    for index in (1, 2):
        path = shard_path(tmp_path / 'val.lmdb', index, 2)
        LMDBWriter(listing.share(index, 2), path, BuildOptions(workers=0)).run()
    classifier = BatchClassifier(mmvmamba.get_model('mambaout_test'), topk=2)
    sources = [images, f'{tmp_path}/val-*-of-00002.lmdb']
    found = []
    for number, source in enumerate(sources):
        out = tmp_path / f'{number}.jsonl'
        predict_all(classifier.predict, list_images(source), out, batch_size=4)
        found.append([json.loads(line) for line in out.read_text().splitlines()])
    assert [{**record, 'input': ''} for record in found[0]] == [
        {**record, 'input': ''} for record in found[1]
    ]
    assert len(found[0]) == 7 and len(found[0][0]['labels']) == 2
    expected = mmvmamba.classify(classifier.model, list_images(images)[3], topk=2)
    assert found[0][3]['labels'] == [guess.label for guess in expected]
    shutil.rmtree(images / 'a')
    shutil.rmtree(images / 'b')
    with pytest.raises(ValueError, match=r'images must be a folder or a database with images'):
        list_images(images)


@pytest.mark.full
@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of Ray's own options
def test_two_workers_of_ray_give_the_same_predictions(images):
    ray = pytest.importorskip('ray', reason='needs ray: pip install "mmvmamba[ray]"')
    pytest.importorskip('ray.data')
    paths = list_images(images)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        model = mmvmamba.get_model('mambaout_test')
        rows = (
            ray.data.from_items(paths, override_num_blocks=4)
            .map_batches(BatchClassifier, fn_constructor_args=(model,), batch_size=2, concurrency=2)
            .take_all()
        )
    finally:
        ray.shutdown()
    expected = dict(zip(paths, BatchClassifier(model).predict(paths), strict=True))
    assert {row['item'] for row in rows} == set(paths)
    for row in rows:
        assert list(row['labels']) == expected[row['item']]['labels']
