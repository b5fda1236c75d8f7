"""Databases with damaged records, tables and pages: what is noticed when, and what is said."""

import hashlib
import json
import os
import shutil
import struct
from functools import partial

import lmdb
import numpy as np
import pytest

from mmvmamba.datasets import LMDBReader, close_environments
from mmvmamba.datasets.errors import CorruptRecordError, LMDBDataError
from mmvmamba.datasets.lmdb.format import TABLES, meta_key
from mmvmamba.datasets.lmdb.maintenance import verify_lmdb
from mmvmamba.datasets.lmdb.pages import check_pages
from tests.fuzz import run_mutated

KEY, OTHER = b'ant/0 x.JPEG', b'ant/1 x.JPEG'
PAGE = 4096


@pytest.fixture
def rewritten(database, tmp_path):
    """A function that copies the database and changes records of the copy through LMDB."""

    def rewrite(change):
        path = tmp_path / 'changed.lmdb'
        shutil.copytree(database, path)
        env = lmdb.open(str(path), map_size=1 << 28, lock=False)
        with env.begin(write=True) as txn:
            change(txn)
        env.close()
        return path

    return rewrite


def test_a_record_whose_bytes_changed_is_not_served(rewritten):
    def change(txn):
        data = bytearray(txn.get(KEY))
        data[100] ^= 1
        txn.put(KEY, bytes(data))

    reader = LMDBReader(rewritten(change))
    with pytest.raises(CorruptRecordError, match=r'not what was stored .*key: ant/0 x.*verify'):
        reader.get(KEY.decode())
    assert reader.get(OTHER.decode())


def test_records_that_changed_places_are_not_served(rewritten):
    def change(txn):
        first, second = txn.get(KEY), txn.get(OTHER)
        txn.put(KEY, second)
        txn.put(OTHER, first)

    reader = LMDBReader(rewritten(change))
    for key in (KEY, OTHER):
        with pytest.raises(CorruptRecordError, match='not what was stored under this key'):
            reader.get(key.decode())


@pytest.mark.parametrize('name', ['labels', 'classes', 'keys', 'sha256', 'checksums', 'skipped'])
def test_a_table_that_changed_or_is_gone_is_noticed_at_opening(rewritten, name):
    def shorten(txn):
        txn.put(meta_key(name), txn.get(meta_key(name))[:-1] + b'?')

    def delete(txn):
        txn.delete(meta_key(name))

    path = rewritten(shorten)
    with pytest.raises(LMDBDataError, match=r'the index is broken: header and tables'):
        len(LMDBReader(path))
    shutil.rmtree(path)
    with pytest.raises(LMDBDataError, match=r'the index is broken: header and tables'):
        verify_lmdb(rewritten(delete))


@pytest.mark.parametrize(
    'change', [dict(num_classes=4), dict(layout='list'), dict(max_size=7), dict(num_bytes=1)]
)
def test_a_header_that_changed_is_noticed_at_opening(rewritten, change):
    def write(txn):
        values = json.loads(txn.get(meta_key('header'))) | change
        txn.put(meta_key('header'), json.dumps(values, indent=1).encode())

    with pytest.raises(LMDBDataError, match='header and tables are not those'):
        len(LMDBReader(rewritten(write)))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (b'[1]', 'must be a JSON dict, got a list'),
        (b'\xff', 'the value is not JSON'),
        (b'[' * 100000, 'the value is not JSON'),
        (b'{"format": "mmvmamba-lmdb", "version": 2, "layout": 3}', r"\['creator', .*'layout'"),
    ],
)
def test_a_header_of_other_json_is_refused(rewritten, value, message):
    path = rewritten(lambda txn: txn.put(meta_key('header'), value))
    with pytest.raises(LMDBDataError, match=message):
        len(LMDBReader(path))


def test_a_database_that_lost_its_header_is_not_taken_for_a_foreign_one(rewritten):
    def change(txn):
        for name in ('header', 'labels', 'state'):
            txn.delete(meta_key(name))

    path = rewritten(change)
    with pytest.raises(LMDBDataError, match=r'the header is missing .*changed\.lmdb.*Build it'):
        verify_lmdb(path)


def as_version_1(txn):
    """Makes of a database what the first version of the layout was."""
    txn.delete(meta_key('checksums'))
    digest = hashlib.sha256()
    for name in TABLES:
        data = txn.get(meta_key(name))
        if data is not None:
            digest.update(f'{name}:{len(data)}:'.encode() + data)
    header = json.loads(txn.get(meta_key('header')))
    header |= dict(version=1, manifest=digest.hexdigest())
    txn.put(meta_key('header'), json.dumps(header, indent=1).encode())


def test_databases_of_version_1_are_read_and_verified(rewritten, database):
    path = rewritten(as_version_1)
    reader, whole = LMDBReader(path), LMDBReader(database)
    assert reader.header.version == 1 and whole.header.version == 2
    for index, key in enumerate(whole.sample_keys()):
        assert reader.get(key) == whole.get(key) and reader.sample(index) == whole.sample(index)
    assert verify_lmdb(path, decode=True) == []


def test_tables_of_version_1_are_checked_at_opening(rewritten):
    def change(txn):
        as_version_1(txn)
        labels = np.frombuffer(txn.get(meta_key('labels')), '<i4') ^ 1
        txn.put(meta_key('labels'), labels.tobytes())

    with pytest.raises(LMDBDataError, match='header and tables are not those'):
        len(LMDBReader(rewritten(change)))


def test_an_index_outside_of_the_samples_is_an_index_error(database):
    for index in (-1, 30):
        with pytest.raises(IndexError, match=r'index must be in \[0, 30\)'):
            LMDBReader(database).sample(index)


def pages_of(data):
    return [data[i : i + PAGE] for i in range(0, len(data), PAGE)]


def main_tree(data):
    """Depth and root of the main database, from the newer meta page."""
    metas = [struct.unpack_from('<IIQQIHHQQQQQIHHQQQQQQQ', page, 16) for page in pages_of(data)[:2]]
    newer = max(metas, key=lambda fields: fields[21])
    return newer[14], newer[19]


@pytest.fixture
def damaged(database, tmp_path):
    """A function that writes the file of the database with some bytes replaced."""

    def damage(*patches):
        data = bytearray((database / 'data.mdb').read_bytes())
        for at, replacement in patches:
            data[at : at + len(replacement)] = replacement
        (tmp_path / 'bad.lmdb').mkdir(exist_ok=True)
        (tmp_path / 'bad.lmdb' / 'data.mdb').write_bytes(data)
        return tmp_path / 'bad.lmdb'

    return damage


def leftmost_leaf(database):
    """The place of a leaf in the file, and the place in it of its first node."""
    data = (database / 'data.mdb').read_bytes()
    depth, number = main_tree(data)
    for _ in range(depth - 1):
        page = pages_of(data)[number]
        node = struct.unpack_from('<H', page, 16)[0]
        number = int.from_bytes(page[node : node + 6], 'little')
    return number * PAGE, struct.unpack_from('<H', data, number * PAGE + 16)[0]


def test_the_sample_has_branches_and_leaves(database):
    assert main_tree((database / 'data.mdb').read_bytes())[0] == 2
    check_pages(database / 'data.mdb')


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        (0, b'\xff', 'it is not what should be there'),  # its number
        (10, b'\x01', 'it is not what should be there'),  # its kind
        (12, b'\xff\xff', 'its nodes overlap'),  # the end of the offsets
        (14, b'\x08\x00', 'its nodes overlap'),  # the begin of the nodes
        (16, b'\xfe\xff', 'a node is outside of it'),  # the first offset
    ],
)
def test_a_leaf_with_a_broken_header_is_refused(database, damaged, field, value, message):
    at, _ = leftmost_leaf(database)
    with pytest.raises(LMDBDataError, match=rf'page {at // PAGE} is broken: {message}.*bad\.lmdb'):
        len(LMDBReader(damaged((at + field, value))))


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        (2, b'\xff\xff', 'a value ends beyond'),  # the size of the value
        (4, b'\x04', 'a node of it is broken'),  # a kind that the main database cannot have
        (6, b'\xff\x0f', 'a value ends beyond it'),  # the size of the key
        (8, b'\xff', 'its keys are out of order'),  # the key
    ],
)
def test_a_leaf_with_a_broken_node_is_refused(database, damaged, field, value, message):
    at, node = leftmost_leaf(database)
    with pytest.raises(LMDBDataError, match=rf'page {at // PAGE} is broken: {message}'):
        len(LMDBReader(damaged((at + node + field, value))))


def test_a_branch_that_leads_twice_to_a_page_is_refused(database, damaged):
    data = (database / 'data.mdb').read_bytes()
    _, root = main_tree(data)
    first, second = struct.unpack_from('<HH', data, root * PAGE + 16)
    child = data[root * PAGE + first : root * PAGE + first + 6]
    with pytest.raises(LMDBDataError, match=r'is broken: (more than one|its keys)'):
        len(LMDBReader(damaged((root * PAGE + second, child))))


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        (0, b'\0', 'it is no LMDB file'),  # the magic number
        (4, b'\x03', "LMDB's data format must be 1, got 3"),
        (24, b'\x01', r'(it is no LMDB file|no size of a page)'),
        (28, b'\x0c', 'flags of databases'),
        (120, b'\xff\xff\xff', 'it was cut short'),  # the last page
    ],
)
def test_broken_meta_pages_are_refused(database, damaged, field, value, message):
    patches = [(page * PAGE + 16 + field, value) for page in range(2)]
    with pytest.raises(LMDBDataError, match=rf'{message}.*bad\.lmdb'):
        len(LMDBReader(damaged(*patches)))


def test_pages_that_were_given_back_before_they_were_written_may_be_missing(database, damaged):
    data = (database / 'data.mdb').read_bytes()
    # As where a transaction took two pages at the end and gave them back.
    last = len(data) // PAGE + 1
    file = damaged(*((page * PAGE + 16 + 120, struct.pack('<Q', last)) for page in range(2)))
    assert len(LMDBReader(file)) == len(LMDBReader(database))


def read_all(want, file):
    """Reads everything there is, as a run and as the tools do; what is served must be right."""
    close_environments()
    path = os.path.dirname(file)
    defects = verify_lmdb(path)
    reader = LMDBReader(path)
    served = 0
    for key in list(reader.sample_keys()):
        try:
            data = reader.get(key)
        except LMDBDataError:
            continue
        if want['records'].get(key) != data:
            raise AssertionError(f'wrong bytes were served for {key!r}')
        served += 1
    samples = [reader.sample(index) for index in range(len(reader))]
    if samples != want['samples'] or reader.classes != want['classes']:
        raise AssertionError('wrong keys, labels or classes were served')
    if not defects and served != len(samples):
        raise AssertionError('verify found nothing, and yet records cannot be read')


@pytest.mark.slow
def test_mutated_databases_end_in_typed_errors_and_serve_nothing_wrong(database):
    reader = LMDBReader(database)
    keys = list(reader.sample_keys())
    want = dict(
        records={key: reader.get(key) for key in keys},
        samples=[reader.sample(index) for index in range(len(keys))],
        classes=reader.classes,
    )
    data = (database / 'data.mdb').read_bytes()
    report = run_mutated(partial(read_all, want), data, 'data.mdb', typed=(LMDBDataError,))
    assert not report.failures, report
    assert report.counts['returned'] and report.counts['refused']
