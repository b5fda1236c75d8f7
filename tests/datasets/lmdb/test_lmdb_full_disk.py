"""Builds on a disk that runs full: one sentence, nothing under the final name, and it goes on."""

import errno
import os

import lmdb
import numpy as np
import pytest
from PIL import Image

from mmvmamba.datasets import LMDBReader
from mmvmamba.datasets.errors import LMDBDataError
from mmvmamba.datasets.lmdb import writer
from mmvmamba.datasets.lmdb.maintenance import export_lmdb, verify_lmdb
from mmvmamba.datasets.lmdb.writer import BuildOptions, create_lmdb
from tests.full_disk import grow, small_disk

OPTIONS = BuildOptions(workers=0, batch_images=4)
MB = 1 << 20


@pytest.fixture
def unforeseen(monkeypatch):
    """Lets builds begin although there is no room for them, as if others filled the disk later."""
    monkeypatch.setattr(writer, 'estimate_map_size', lambda *_: writer.SPARE_BYTES)


@pytest.mark.parametrize(
    'error',
    [
        lmdb.DiskError('mdb_txn_commit', errno.ENOSPC),
        # What LMDB says when the last part of a write did not fit.
        lmdb.Error('mdb_txn_commit: Input/output error'),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ],
    ids=['no space', 'short write', 'system call'],
)
def test_a_write_that_fails_ends_in_one_sentence(image_folder, tmp_path, monkeypatch, error):
    copy_batch = writer.LMDBWriter._copy_batch
    calls = []

    def fail_at_last(self, txn, images):
        calls.append(txn)
        if len(calls) == 4:
            raise error
        return copy_batch(self, txn, images)

    monkeypatch.setattr(writer.LMDBWriter, '_copy_batch', fail_at_last)
    message = r'cannot be written \(.*\); \d+ MB are free .*a\.lmdb\).*goes on.*remove .*\.partial'
    with pytest.raises(LMDBDataError, match=message):
        create_lmdb(image_folder, tmp_path / 'a.lmdb', options=OPTIONS)
    assert os.listdir(tmp_path) == ['a.lmdb.partial']
    report = create_lmdb(image_folder, tmp_path / 'a.lmdb', options=OPTIONS)
    assert report.resumed_at == 12 and verify_lmdb(tmp_path / 'a.lmdb') == []


def make_images(folder, count):
    """Images that cannot be compressed, of 100 kB each."""
    (folder / 'a').mkdir(parents=True)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (200, 170, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'a' / f'{i:03d}.png')


@pytest.mark.slow
def test_a_build_on_a_full_disk_goes_on_when_there_is_room(tmp_path, unforeseen):
    make_images(tmp_path / 'images', 60)
    with small_disk(tmp_path / 'disk', 3 * MB) as disk:
        output = disk / 'a.lmdb'
        with pytest.raises(LMDBDataError, match=r'cannot be written .*; 0 MB are free'):
            create_lmdb(tmp_path / 'images', output, options=OPTIONS)
        assert os.listdir(disk) == ['a.lmdb.partial']
        grow(disk, 30 * MB)
        report = create_lmdb(tmp_path / 'images', output, options=OPTIONS)
        assert 8 <= report.resumed_at < 60
        assert os.listdir(disk) == ['a.lmdb'] and verify_lmdb(output, decode=True) == []
        assert len(LMDBReader(output)) == 60


@pytest.mark.slow
@pytest.mark.parametrize('size', [4096, 3 * 4096, 5 * 4096])
def test_a_disk_without_any_room_is_told(image_folder, tmp_path, unforeseen, size):
    with small_disk(tmp_path / 'disk', size) as disk:
        with pytest.raises(LMDBDataError, match=r'cannot be written .*; 0 MB are free'):
            create_lmdb(image_folder, disk / 'a.lmdb', options=OPTIONS)
        grow(disk, 8 * MB)
        create_lmdb(image_folder, disk / 'a.lmdb', options=OPTIONS)
        assert verify_lmdb(disk / 'a.lmdb') == []


@pytest.mark.slow
def test_an_export_to_a_full_disk_leaves_whole_files_only(database, image_folder, tmp_path):
    with small_disk(tmp_path / 'disk', 64 * 1024) as disk:
        with pytest.raises(OSError, match='No space left on device'):
            export_lmdb(database, disk / 'out')
        files = [path for path in (disk / 'out').rglob('*') if path.is_file()]
        assert files
        for path in files:
            assert path.read_bytes() == (image_folder / path.relative_to(disk / 'out')).read_bytes()
