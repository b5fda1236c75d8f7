"""Sources and targets that are not plain folders and files: links, pipes, odd names, locks."""

import multiprocessing
import os
import socket
import tarfile

import lmdb
import pytest

from mmvmamba.datasets import LMDBReader
from mmvmamba.datasets.errors import LMDBDataError
from mmvmamba.datasets.lmdb.maintenance import export_lmdb, verify_lmdb
from mmvmamba.datasets.lmdb.sources import list_source
from mmvmamba.datasets.lmdb.writer import BuildOptions, LMDBWriter, create_lmdb
from mmvmamba.files import hold_lock
from tests.datasets.lmdb_samples import encode, random_image

ALONE = BuildOptions(workers=0)


@pytest.fixture
def images(tmp_path):
    """A folder of two classes of one image each."""
    for seed, name in enumerate('ab'):
        folder = tmp_path / 'images' / name
        folder.mkdir(parents=True)
        (folder / 'x.jpg').write_bytes(encode(random_image(seed)))
    return tmp_path / 'images'


@pytest.mark.parametrize('workers', [0, 1])
def test_a_named_pipe_is_left_out_and_waited_for_by_no_one(images, tmp_path, workers):
    os.mkfifo(images / 'a' / 'pipe.jpg')
    report = create_lmdb(images, tmp_path / 'a.lmdb', options=BuildOptions(workers=workers))
    assert report.skipped == [('a/pipe.jpg', 'OSError: it is not a regular file')]
    assert len(LMDBReader(tmp_path / 'a.lmdb')) == 2


def test_a_named_pipe_is_no_source(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(LMDBDataError, match=r'no such file or folder .*pipe'):
        list_source(tmp_path / 'pipe')


@pytest.mark.parametrize('layout', ['folder', 'tree'])
def test_links_that_lead_round_in_a_circle_are_named(images, layout):
    (images / 'a' / 'other').symlink_to('../b')
    (images / 'b' / 'back').symlink_to('../a')
    with pytest.raises(LMDBDataError, match=r'leads back to a folder .*a/other/back'):
        list_source(images, layout)


def test_links_to_other_folders_and_files_are_followed(images, tmp_path):
    (tmp_path / 'far').mkdir()
    (tmp_path / 'far' / 'y.jpg').write_bytes(encode(random_image(2)))
    (images / 'a' / 'far').symlink_to(tmp_path / 'far')
    (images / 'b' / 'z.jpg').symlink_to(tmp_path / 'far' / 'y.jpg')
    assert list_source(images).keys == ['a/far/y.jpg', 'a/x.jpg', 'b/x.jpg', 'b/z.jpg']


def test_a_link_to_itself_is_left_out(images, tmp_path):
    (images / 'a' / 'self.jpg').symlink_to('self.jpg')
    report = create_lmdb(images, tmp_path / 'a.lmdb', options=ALONE)
    assert [key for key, _ in report.skipped] == ['a/self.jpg']


@pytest.mark.parametrize('name', ['new\nline.jpg', 'return\r.jpg'])
def test_names_that_break_lines_are_refused(images, name):
    (images / 'a' / name).write_bytes(encode(random_image(3)))
    with pytest.raises(LMDBDataError, match=r'without line breaks and NUL .*\\[nr].*Rename'):
        list_source(images)


def test_a_nul_in_a_list_is_refused(images, tmp_path):
    (tmp_path / 'list.txt').write_text('x\0.jpg 0\n')
    with pytest.raises(LMDBDataError, match=r'without line breaks and NUL .*x\\x00'):
        list_source(images / 'a', list_file=tmp_path / 'list.txt')


@pytest.mark.parametrize('name', ['/x.jpg', '../x.jpg', 'a/../../x.jpg'])
def test_members_of_a_tar_that_lead_out_of_it_are_refused(images, tmp_path, name):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        tar.add(images / 'a' / 'x.jpg', 'a/x.jpg')
        member = tar.gettarinfo(images / 'b' / 'x.jpg')
        member.name = name
        with open(images / 'b' / 'x.jpg', 'rb') as file:
            tar.addfile(member, file)
    with pytest.raises(LMDBDataError, match=r'(must be a relative path|a flat tar)'):
        list_source(tmp_path / 'a.tar', 'tree')


def test_a_tar_that_ends_too_early_is_noticed(images, tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        tar.add(images / 'a' / 'x.jpg', 'notes.txt')
    listing = list_source(tmp_path / 'a.tar', 'tree', all_files=True)
    os.truncate(tmp_path / 'a.tar', 700)
    with pytest.raises(LMDBDataError, match=r'none of the 1 images.*bytes too early'):
        LMDBWriter(listing, tmp_path / 'a.lmdb', ALONE).run()


def test_labels_without_bound_are_refused(images, tmp_path):
    (tmp_path / 'list.txt').write_text('x.jpg 99999999999\n')
    with pytest.raises(LMDBDataError, match='must be "<path> <class index>"'):
        list_source(images / 'a', list_file=tmp_path / 'list.txt')


def _hold(path, held, release):
    with hold_lock(path):
        held.set()
        release.wait(60)


def test_a_second_build_names_the_process_and_machine_of_the_first(images, tmp_path, monkeypatch):
    monkeypatch.setattr('mmvmamba.datasets.lmdb.writer.LOCK_SECONDS', 0.1)
    context = multiprocessing.get_context('fork')
    held, release = context.Event(), context.Event()
    lock = tmp_path / 'a.lmdb.lock'
    process = context.Process(target=_hold, args=(lock, held, release))
    process.start()
    assert held.wait(60)
    holder = rf'building this database: process {process.pid} on {socket.gethostname()} '
    for restart in (False, True):
        with pytest.raises(LMDBDataError, match=holder):
            create_lmdb(images, tmp_path / 'a.lmdb', options=BuildOptions(0, restart=restart))
    assert sorted(os.listdir(tmp_path)) == ['a.lmdb.lock', 'images']
    release.set()
    process.join()
    create_lmdb(images, tmp_path / 'a.lmdb', options=ALONE)
    assert sorted(os.listdir(tmp_path)) == ['a.lmdb', 'images']


def test_only_a_database_is_replaced(images, tmp_path):
    """A slip of the two arguments must not cost the images."""
    before = sorted(images.rglob('*'))
    with pytest.raises(LMDBDataError, match=r'no database, which alone would be replaced.*images'):
        create_lmdb(images, images, options=BuildOptions(0, overwrite=True))
    assert sorted(images.rglob('*')) == before


def test_a_replaced_database_is_whole_at_every_moment(images, tmp_path, monkeypatch):
    create_lmdb(images, tmp_path / 'a.lmdb', options=ALONE)
    (images / 'a' / 'y.jpg').write_bytes(encode(random_image(5)))
    seen = []
    replace = os.replace

    def watch(source, target):
        seen.append(LMDBReader(tmp_path / 'a.lmdb').header.num_records)
        replace(source, target)
        seen.append(LMDBReader(tmp_path / 'a.lmdb').header.num_records)

    monkeypatch.setattr('os.replace', watch)
    create_lmdb(images, tmp_path / 'a.lmdb', options=BuildOptions(0, overwrite=True))
    assert seen == [2, 3]
    assert sorted(os.listdir(tmp_path)) == ['a.lmdb', 'images']


@pytest.fixture
def foreign(tmp_path):
    """A function that writes a database of another layout with one image under each key."""

    def write(*keys):
        env = lmdb.open(str(tmp_path / 'foreign.lmdb'), map_size=1 << 24)
        with env.begin(write=True) as txn:
            for key in keys:
                txn.put(key, encode(random_image(0)))
        env.close()
        return tmp_path / 'foreign.lmdb'

    return write


def test_keys_that_lead_out_of_the_folder_are_not_exported(foreign, tmp_path):
    keys = [b'/etc/a.jpg', b'../a.jpg', b'x/../../a.jpg', b'new\nline.jpg', b'nul\0.jpg', b'ok.jpg']
    path = foreign(*keys)
    defects = dict(export_lmdb(path, tmp_path / 'out', tmp_path / 'list.txt'))
    assert set(defects) == {key.decode() for key in keys[:-1]}
    assert os.listdir(tmp_path / 'out') == ['ok.jpg']
    assert (tmp_path / 'list.txt').read_text() == 'ok.jpg\n'
    assert 'must be a relative path' in defects['../a.jpg']
    assert 'line breaks' in defects['new\nline.jpg']


def test_nothing_is_exported_through_links_in_the_folder(foreign, tmp_path):
    path = foreign(b'a/deep/x.jpg', b'b.jpg', b'c/x.jpg')
    outside = tmp_path / 'outside'
    (outside / 'deep').mkdir(parents=True)
    (outside / 'victim').write_text('mine')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a').symlink_to(outside)
    (tmp_path / 'out' / 'b.jpg').symlink_to(outside / 'victim')
    defects = export_lmdb(path, tmp_path / 'out', overwrite=True)
    assert [key for key, _ in defects] == ['a/deep/x.jpg']
    assert 'out/a is a symbolic link' in defects[0][1]
    assert sorted(os.listdir(outside)) == ['deep', 'victim'] and not os.listdir(outside / 'deep')
    assert (outside / 'victim').read_text() == 'mine'
    # The link itself gave way to the file.
    assert not (tmp_path / 'out' / 'b.jpg').is_symlink()
    assert (tmp_path / 'out' / 'b.jpg').read_bytes() == encode(random_image(0))


def test_a_record_below_a_record_is_not_exported(foreign, tmp_path):
    path = foreign(b'a.jpg', b'a.jpg/b.jpg')
    assert [key for key, _ in export_lmdb(path, tmp_path / 'out')] == ['a.jpg/b.jpg']
    with pytest.raises(LMDBDataError, match=r'a folder is needed, this is a file .*out/a\.jpg'):
        export_lmdb(path, tmp_path / 'out' / 'a.jpg')


def _killed_chunk(*_):
    os._exit(9)


def test_a_killed_worker_ends_the_verification_with_a_message(foreign, monkeypatch):
    monkeypatch.setattr('mmvmamba.datasets.lmdb.maintenance._verify_chunk', _killed_chunk)
    with pytest.raises(LMDBDataError, match=r'process that read was killed.*fewer --workers'):
        verify_lmdb(foreign(b'a.jpg'), workers=1)
