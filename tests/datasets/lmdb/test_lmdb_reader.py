"""Reading across processes, and what is said of databases that cannot be read."""

import copy
import multiprocessing
import os
import pickle
import shutil
import threading

import lmdb
import pytest

from mmvmamba.datasets import LMDBReader, close_environments
from mmvmamba.datasets.errors import (
    CorruptRecordError,
    KeyMissingError,
    LMDBDataError,
)
from mmvmamba.datasets.lmdb.format import FORMAT_VERSION, KEY_LIMIT, meta_key
from mmvmamba.datasets.lmdb.reader import _open
from tests.datasets.lmdb_samples import encode, random_image

KEY = 'bee/3 x.JPEG'


@pytest.fixture
def changed(database, tmp_path):
    """A function that copies the database with some records changed (None: deleted)."""

    def change(records):
        path = tmp_path / 'changed.lmdb'
        shutil.copytree(database, path)
        env = lmdb.open(str(path), map_size=1 << 28)
        with env.begin(write=True) as txn:
            for key, value in records.items():
                txn.delete(key) if value is None else txn.put(key, value)
        env.close()
        return path

    return change


def test_key_limit_is_lmdbs(tmp_path):
    env = lmdb.open(str(tmp_path / 'a.lmdb'))
    assert env.max_key_size() == KEY_LIMIT
    env.close()


def test_nothing_is_opened_before_the_first_use(database):
    reader = LMDBReader(database)
    assert _open == {}
    len(reader)
    assert len(_open) == 1


def test_readers_of_one_database_share_its_environment(database, tmp_path):
    (tmp_path / 'link.lmdb').symlink_to(database)
    first, second = LMDBReader(database), LMDBReader(tmp_path / 'link.lmdb')
    assert first.get(KEY) == second.get(KEY)
    assert len(_open) == 1


def test_pickled_and_copied_readers_carry_no_handle(database):
    reader = LMDBReader(database)
    want = reader.get(KEY)
    for twin in (pickle.loads(pickle.dumps(reader)), copy.deepcopy(reader)):
        assert twin.__dict__ == LMDBReader(database).__dict__
        assert twin.get(KEY) == want


def _read_in_child(reader, queue):
    queue.put((len(_open), reader.get(KEY), reader.sample(13), len(_open)))


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_a_child_process_opens_for_itself(database, method):
    reader = LMDBReader(database)
    want = reader.get(KEY)  # open in the parent before the fork
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_read_in_child, args=(reader, queue))
    process.start()
    assert queue.get(timeout=60) == (0, want, (KEY, 1), 1)
    process.join()
    assert reader.get(KEY) == want


def test_threads_share_a_reader(database):
    reader = LMDBReader(database)
    results = []
    threads = [threading.Thread(target=lambda: results.append(reader.get(KEY))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and len(set(results)) == 1


def test_reading_leaves_the_folder_as_it_is_and_needs_no_write_permission(database, tmp_path):
    path = tmp_path / 'a.lmdb'
    shutil.copytree(database, path)
    (path / 'data.mdb').chmod(0o444)
    path.chmod(0o555)
    len(LMDBReader(path))
    assert os.listdir(path) == ['data.mdb']
    path.chmod(0o755)


def test_a_moved_database_reads_the_same(database, tmp_path):
    shutil.copytree(database, tmp_path / 'elsewhere.lmdb')
    assert LMDBReader(tmp_path / 'elsewhere.lmdb').get(KEY) == LMDBReader(database).get(KEY)


def test_a_closed_environment_is_opened_again(database):
    reader = LMDBReader(database)
    want = reader.get(KEY)
    close_environments()
    assert reader.get(KEY) == want


def test_missing_key_is_named(database):
    for key in ('bee/4.JPEG', '', 'x' * 600):
        assert key not in LMDBReader(database)
        with pytest.raises(KeyMissingError, match=r'no such image among 30.*Compare') as caught:
            LMDBReader(database).get(key)
        assert caught.value.key == key and str(database) in str(caught.value)


def test_missing_database_is_named(tmp_path):
    with pytest.raises(LMDBDataError, match=r'none\.lmdb.*mmvmamba data lmdb create'):
        len(LMDBReader(tmp_path / 'none.lmdb'))
    (tmp_path / 'empty.lmdb').mkdir()
    with pytest.raises(LMDBDataError, match=r'empty\.lmdb'):
        len(LMDBReader(tmp_path / 'empty.lmdb'))


def test_empty_database_is_refused(tmp_path):
    lmdb.open(str(tmp_path / 'a.lmdb')).close()
    with pytest.raises(LMDBDataError, match=r'the database is empty .*a\.lmdb.*Build it'):
        len(LMDBReader(tmp_path / 'a.lmdb'))


@pytest.mark.parametrize('size', [0, 100, 4096, 5000, 8192, 30000, -4096, -1])
def test_a_database_that_was_cut_short_is_refused(database, tmp_path, size):
    path = tmp_path / 'cut.lmdb'
    shutil.copytree(database, path)
    file = path / 'data.mdb'
    os.truncate(file, size if size >= 0 else file.stat().st_size + size)
    with pytest.raises(LMDBDataError, match=r'(cut short|too short) .*cut\.lmdb.*Copy it again'):
        len(LMDBReader(path))


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / 'a.lmdb').mkdir()
    (tmp_path / 'a.lmdb' / 'data.mdb').write_bytes(b'no database ' * 1000)
    with pytest.raises(LMDBDataError, match=r'it is no LMDB file .*a\.lmdb.*Copy it again'):
        len(LMDBReader(tmp_path / 'a.lmdb'))


def test_unknown_version_is_refused(changed, database):
    header = LMDBReader(database).header.dumps()
    newer = header.replace(b'"version": %d' % FORMAT_VERSION, b'"version": 99')
    path = changed({meta_key('header'): newer})
    with pytest.raises(LMDBDataError, match=r'version 1 or 2, got 99 .*changed.*Upgrade'):
        len(LMDBReader(path))


@pytest.mark.parametrize(
    'records',
    [
        {meta_key('header'): b'no json'},
        {meta_key('header'): b'{"format": "other"}'},
        {meta_key('header'): b'{"format": "mmvmamba-lmdb", "version": 1}'},
        {meta_key('key_ends'): b'12345678'},
        {meta_key('key_ends'): None},
    ],
)
def test_a_damaged_header_is_refused(changed, records):
    with pytest.raises(LMDBDataError, match=r'changed.*Build it again'):
        len(LMDBReader(changed(records)))


def test_errors_survive_the_way_out_of_a_worker():
    error = CorruptRecordError('it is bad', 'a.lmdb', 'b.jpg', 'Check it.')
    assert str(error) == 'it is bad (path: a.lmdb, key: b.jpg). Check it.'
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.key, type(twin)) == (str(error), 'b.jpg', CorruptRecordError)
    # How torch's data loader builds it again.
    assert str(CorruptRecordError('Caught in worker: ...')) == 'Caught in worker: ...'


def test_foreign_databases_are_read_by_key(tmp_path):
    env = lmdb.open(str(tmp_path / 'foreign'))
    image = encode(random_image(0))
    with env.begin(write=True) as txn:
        txn.put(b'a.JPEG', image)
        txn.put(b'total', b'1')
    env.close()
    reader = LMDBReader(tmp_path / 'foreign')
    assert reader.header is None and len(reader) == 1
    assert list(reader.sample_keys()) == ['a.JPEG'] and reader.get('a.JPEG') == image
    with pytest.raises(LMDBDataError, match=r'not of the layout .*foreign.*ann_file'):
        reader.sample(0)
