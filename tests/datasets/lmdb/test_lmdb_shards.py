"""Databases built in shards: merged into one, and read as one."""

import pickle
import shutil

import numpy as np
import pytest

from mmvmamba.datasets import LMDBReader, close_environments
from mmvmamba.datasets.errors import CorruptRecordError, KeyMissingError, LMDBDataError
from mmvmamba.datasets.lmdb.backend import LMDBFileBackend
from mmvmamba.datasets.lmdb.maintenance import verify_lmdb
from mmvmamba.datasets.lmdb.merge import merge_lmdb
from mmvmamba.datasets.lmdb.options import BuildOptions
from mmvmamba.datasets.lmdb.shards import JoinedReader, find_databases, open_reader, shard_path
from mmvmamba.datasets.lmdb.sources import list_source
from mmvmamba.datasets.lmdb.writer import LMDBWriter, create_lmdb
from tests.datasets.lmdb_samples import encode, random_image

ALONE = BuildOptions(workers=0)
TABLES = ('keys', 'key_ends', 'labels', 'sizes', 'sha256', 'resized', 'skipped', 'checksums')


def build_shards(listing, output, count, options=ALONE):
    paths = [shard_path(output, index, count) for index in range(1, count + 1)]
    for index, path in enumerate(paths, 1):
        LMDBWriter(listing.share(index, count), path, options).run()
    return paths


@pytest.fixture
def unsound_folder(image_folder, tmp_path):
    """Images of which one is large and one cannot be read."""
    folder = shutil.copytree(image_folder, tmp_path / 'train')
    (folder / 'bee' / 'bad.JPEG').write_bytes(b'rubbish')
    (folder / 'cat dog' / 'large.JPEG').write_bytes(encode(random_image(0, (70, 50, 3))))
    return folder


@pytest.fixture
def shards(image_folder, tmp_path):
    """Three shards of the images."""
    return build_shards(list_source(image_folder), tmp_path / 'train.lmdb', 3)


@pytest.mark.parametrize('count', [1, 3, 7])
def test_merged_shards_are_the_database_that_one_build_gives(unsound_folder, tmp_path, count):
    listing = list_source(unsound_folder)
    options = BuildOptions(workers=0, max_size=40)
    LMDBWriter(listing, tmp_path / 'whole.lmdb', options).run()
    paths = build_shards(listing, tmp_path / 'train.lmdb', count, options)
    report = merge_lmdb(paths[::-1], tmp_path / 'merged.lmdb')
    whole, merged = LMDBReader(tmp_path / 'whole.lmdb'), LMDBReader(tmp_path / 'merged.lmdb')
    # The manifest covers all tables, and each record is compared with its digest in them.
    assert merged.header == whole.header == report.header
    assert (report.header.num_resized, report.header.num_skipped) == (1, 1)
    assert report.skipped == [tuple(item) for item in whole.skipped]
    assert [merged._bytes(name) for name in TABLES] == [whole._bytes(name) for name in TABLES]
    assert merged.shard is None
    assert verify_lmdb(tmp_path / 'merged.lmdb', decode=True) == []


def test_shards_have_equal_numbers_and_all_of_the_classes(tmp_path):
    folder = tmp_path / 'flat'
    folder.mkdir()
    lines = []
    for i in range(5):
        (folder / f'{i}.jpg').write_bytes(encode(random_image(i)))
        lines.append(f'{i}.jpg {i}\n')
    (tmp_path / 'list.txt').write_text(''.join(lines))
    listing = list_source(folder, list_file=tmp_path / 'list.txt')
    shards = [listing.share(index, 2) for index in (1, 2)]
    assert [len(shard) for shard in shards] == [2, 3]
    assert [shard.num_classes for shard in shards] == [5, 5]
    assert [key for shard in shards for key in shard.keys] == listing.keys
    for index, count in [(0, 2), (3, 2), (1, 6)]:
        with pytest.raises(ValueError, match=r'I of N with 1 <= I <= N <= 5, the number of images'):
            listing.share(index, count)


def test_a_merge_goes_on_after_an_interruption(shards, image_folder, tmp_path, monkeypatch):
    options = BuildOptions(workers=0, batch_images=4)
    broken = LMDBReader(shards[1])
    keys = list(broken.sample_keys())
    real = LMDBReader.get

    def get(self, key, check=True):
        data = real(self, key, check)
        return data + b'!' if key == keys[5] else data

    monkeypatch.setattr(LMDBReader, 'get', get)
    with pytest.raises(CorruptRecordError, match=r'train-00002-of-00003\.lmdb.*goes on where it'):
        merge_lmdb(shards, tmp_path / 'merged.lmdb', options)
    monkeypatch.undo()
    assert not (tmp_path / 'merged.lmdb').exists()
    report = merge_lmdb(shards, tmp_path / 'merged.lmdb', options)
    assert report.resumed_at == 12
    create_lmdb(image_folder, tmp_path / 'whole.lmdb', options=ALONE)
    assert report.header == LMDBReader(tmp_path / 'whole.lmdb').header


def test_an_interrupted_merge_of_others_is_not_gone_on_with(
    shards, image_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(LMDBWriter, '_finish', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        merge_lmdb(shards, tmp_path / 'merged.lmdb')
    monkeypatch.undo()
    others = build_shards(list_source(image_folder).spread(6), tmp_path / 'other.lmdb', 2)
    with pytest.raises(LMDBDataError, match=r'other images or options .*merged.*--restart'):
        merge_lmdb(others, tmp_path / 'merged.lmdb')
    merge_lmdb(others, tmp_path / 'merged.lmdb', BuildOptions(restart=True))
    assert len(LMDBReader(tmp_path / 'merged.lmdb')) == 6


def test_whole_databases_of_the_same_classes_are_merged_in_their_order(tmp_path):
    paths = []
    for part in 'ba':
        for name in ('x', 'y'):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            (folder / f'{part}.jpg').write_bytes(encode(random_image(ord(part))))
        create_lmdb(tmp_path / part, tmp_path / f'{part}.lmdb', options=ALONE)
        paths.append(tmp_path / f'{part}.lmdb')
    merge_lmdb(paths, tmp_path / 'c.lmdb')
    reader = LMDBReader(tmp_path / 'c.lmdb')
    assert list(reader.sample_keys()) == ['x/b.jpg', 'y/b.jpg', 'x/a.jpg', 'y/a.jpg']
    assert reader.labels().tolist() == [0, 1, 0, 1]
    with pytest.raises(LMDBDataError, match=r'the same key is in .*b\.lmdb and .*c\.lmdb'):
        merge_lmdb([paths[0], tmp_path / 'c.lmdb'], tmp_path / 'd.lmdb')
    assert not list(tmp_path.glob('d.lmdb*'))


def test_shards_that_do_not_fit_are_refused(shards, image_folder, tmp_path):
    listing = list_source(image_folder)
    double = shutil.copytree(shards[0], tmp_path / 'copy.lmdb')
    with pytest.raises(LMDBDataError, match=r'shard 1 is there twice: .*00001-of-00003'):
        merge_lmdb([*shards, double], tmp_path / 'm.lmdb')
    other = build_shards(listing.spread(12), tmp_path / 'other.lmdb', 3)
    with pytest.raises(LMDBDataError, match=r'no shard of the .*train-00001.*other-00003'):
        merge_lmdb([*shards[:2], other[2]], tmp_path / 'm.lmdb')
    create_lmdb(image_folder, tmp_path / 'whole.lmdb', options=ALONE)
    with pytest.raises(LMDBDataError, match=r'it is no shard of the listing .*whole\.lmdb'):
        merge_lmdb([tmp_path / 'whole.lmdb', *shards], tmp_path / 'm.lmdb')
    resized = BuildOptions(workers=0, max_size=9)
    LMDBWriter(listing.share(3, 3), tmp_path / 'small.lmdb', resized).run()
    with pytest.raises(LMDBDataError, match=r'the limit of sizes \(--max-size\) must be those of'):
        merge_lmdb([*shards[:2], tmp_path / 'small.lmdb'], tmp_path / 'm.lmdb')
    assert not list(tmp_path.glob('m.lmdb*'))


def test_joined_databases_give_what_one_gives(shards, database, tmp_path):
    whole = LMDBReader(database)
    joined = pickle.loads(pickle.dumps(open_reader(tmp_path / 'train-*-of-00003.lmdb')))
    assert find_databases(joined.path) == [str(path) for path in shards]
    assert isinstance(joined, JoinedReader) and len(joined) == len(whole) == 30
    assert list(joined.sample_keys()) == list(whole.sample_keys())
    assert list(joined.stored_keys('bee/')) == list(whole.stored_keys('bee/'))
    assert [joined.sample(i) for i in range(30)] == [whole.sample(i) for i in range(30)]
    assert all(joined.get(key) == whole.get(key) for key in whole.sample_keys())
    assert joined.labels().tolist() == whole.labels().tolist()
    assert joined.classes == whole.classes and joined.skipped == []
    assert np.array_equal(joined.sizes(), whole.sizes())
    assert np.array_equal(joined.digests(), whole.digests())
    header = joined.header
    assert (header.num_records, header.num_bytes) == (30, whole.header.num_bytes)
    for index in (-1, 30):
        with pytest.raises(IndexError, match=r'index must be in \[0, 30\)'):
            joined.part(index)
    assert 'bee/nothing.jpg' not in joined
    with pytest.raises(KeyMissingError, match=r'no such image among 30 .*train-\*-of-00003'):
        joined.get('bee/nothing.jpg')


def test_a_missing_shard_is_named_before_anything_is_read(shards, tmp_path):
    close_environments()
    shutil.rmtree(shards[1])
    with pytest.raises(LMDBDataError, match=r'shards 2 of 3 are missing'):
        len(open_reader(tmp_path / 'train-*-of-00003.lmdb'))
    with pytest.raises(LMDBDataError, match=r'no LMDB database has a name like this .*val-\*'):
        len(open_reader(tmp_path / 'val-*.lmdb'))


def test_paths_of_shards_work_wherever_mmengine_takes_a_path(shards, database, tmp_path):
    root = f'lmdb://{tmp_path}/train-*-of-00003.lmdb'
    backend = LMDBFileBackend()
    keys = list(LMDBReader(database).sample_keys())
    assert all(
        backend.get(f'{root}/{key}') == backend.get(f'lmdb://{database}/{key}') for key in keys
    )
    names = sorted(backend.list_dir_or_file(root, list_dir=False, recursive=True))
    assert names == sorted(keys)
