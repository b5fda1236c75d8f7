"""What a build stores, and what it refuses."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import lmdb
import pytest
from PIL import Image

from mmvmamba.datasets import LMDBReader
from mmvmamba.datasets.errors import LMDBDataError
from mmvmamba.datasets.lmdb.loading import load_images
from mmvmamba.datasets.lmdb.maintenance import export_lmdb, verify_lmdb
from mmvmamba.datasets.lmdb.sources import Listing, list_source
from mmvmamba.datasets.lmdb.writer import BuildOptions, LMDBWriter, create_lmdb
from tests.datasets.lmdb_samples import encode, random_image

ALONE = BuildOptions(workers=0)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob('*')
        if path.is_file()
    }


def records_of(path):
    reader = LMDBReader(path)
    return {key: reader.get(key) for key in reader.sample_keys()}


@pytest.mark.parametrize('workers', [0, 2])
def test_records_are_the_files_in_mmpretrains_order(image_folder, tmp_path, workers):
    report = create_lmdb(image_folder, tmp_path / 'a.lmdb', options=BuildOptions(workers=workers))
    reader = LMDBReader(tmp_path / 'a.lmdb')
    assert records_of(reader.path) == files_of(image_folder)
    assert list(reader.sample_keys())[8:11] == ['ant/8 x.JPEG', 'ant/more/é.png', 'bee/0 x.JPEG']
    assert reader.labels().tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert reader.classes == ['ant', 'bee', 'cat dog']
    assert reader.sample(29) == ('cat dog/more/é.png', 2)
    assert reader.sizes().tolist() == [len(reader.get(key)) for key in reader.sample_keys()]
    assert reader.digests()[3].tobytes() == hashlib.sha256(reader.get('ant/3 x.JPEG')).digest()
    assert report.header == reader.header
    assert (report.header.num_records, report.header.num_classes) == (30, 3)
    assert [path.name for path in tmp_path.iterdir()] == ['a.lmdb']
    assert os.listdir(tmp_path / 'a.lmdb') == ['data.mdb']


def test_flat_folder_and_tar_with_a_list_are_the_same(tmp_path):
    names = [f'val_{i:03d}.JPEG' for i in range(6)]
    flat = tmp_path / 'flat'
    flat.mkdir()
    with tarfile.open(tmp_path / 'val.tar', 'w') as tar:
        for i, name in enumerate(names):
            (flat / name).write_bytes(encode(random_image(i)))
            tar.add(flat / name, name)
    labels = [3, 0, 2, 1, 3, 0]
    lines = tmp_path / 'val.txt'
    lines.write_text(''.join(f'{n} {k}\r\n' for n, k in zip(names[::-1], labels, strict=True)))
    for source, output in [(flat, 'a.lmdb'), (tmp_path / 'val.tar', 'b.lmdb')]:
        create_lmdb(source, tmp_path / output, list_file=lines, options=ALONE)
        reader = LMDBReader(tmp_path / output)
        assert list(reader.sample_keys()) == names[::-1]
        assert reader.labels().tolist() == labels
        assert (reader.header.layout, reader.header.num_classes) == ('list', 4)
        assert records_of(reader.path) == files_of(flat)


def test_tar_per_class_tar_of_tars_and_folder_are_the_same(image_folder, tmp_path):
    (tmp_path / 'tars').mkdir()
    for folder in image_folder.iterdir():
        with tarfile.open(tmp_path / 'tars' / f'{folder.name}.tar', 'w') as tar:
            tar.add(folder, '.')
    with tarfile.open(tmp_path / 'all.tar', 'w') as tar:
        tar.add(tmp_path / 'tars', '.')
    create_lmdb(image_folder, tmp_path / 'folder.lmdb', options=ALONE)
    for source in ('tars', 'all.tar'):
        create_lmdb(tmp_path / source, tmp_path / 'tar.lmdb', options=ALONE)
        want, got = LMDBReader(tmp_path / 'folder.lmdb'), LMDBReader(tmp_path / 'tar.lmdb')
        assert list(got.sample_keys()) == list(want.sample_keys())
        assert got.labels().tolist() == want.labels().tolist()
        assert (got.digests() == want.digests()).all()
        assert (got.header.layout, want.header.layout) == ('tar', 'folder')
        shutil.rmtree(tmp_path / 'tar.lmdb')


def test_tree_takes_annotations_along_on_request(image_folder, tmp_path):
    tree = tmp_path / 'tree'
    shutil.copytree(image_folder, tree / 'images')
    (tree / 'annotations.json').write_text('{}')
    create_lmdb(tree, tmp_path / 'a.lmdb', layout='tree', options=ALONE)
    assert set(records_of(tmp_path / 'a.lmdb')) == set(files_of(tree)) - {'annotations.json'}
    assert LMDBReader(tmp_path / 'a.lmdb').labels() is None
    listing = list_source(tree, 'tree', all_files=True)
    LMDBWriter(listing, tmp_path / 'b.lmdb', ALONE).run()
    assert records_of(tmp_path / 'b.lmdb') == files_of(tree)
    with pytest.raises(ValueError, match='max_size is for classification'):
        LMDBWriter(listing, tmp_path / 'c.lmdb', BuildOptions(max_size=8))


@pytest.mark.parametrize('workers', [0, 2])
def test_export_is_byte_identical(database, image_folder, tmp_path, workers):
    lines = tmp_path / 'list.txt'
    assert export_lmdb(database, tmp_path / 'out', lines, workers) == []
    assert files_of(tmp_path / 'out') == files_of(image_folder)
    assert lines.read_text().splitlines()[-1] == 'cat dog/more/é.png 2'
    with pytest.raises(LMDBDataError, match='not empty'):
        export_lmdb(database, tmp_path / 'out')


@pytest.mark.parametrize('workers', [0, 2])
def test_unreadable_images_are_left_out_and_named(image_folder, tmp_path, workers):
    folder = tmp_path / 'images'
    shutil.copytree(image_folder, folder)
    whole = encode(random_image(0, (90, 90, 3)))
    for name, data in {'empty.jpg': b'', 'text.png': b'no image', 'cut.JPG': whole[:-900]}.items():
        (folder / 'bee' / name).write_bytes(data)
    (folder / 'bee' / 'gone.jpg').symlink_to(folder / 'nowhere')
    report = create_lmdb(folder, tmp_path / 'a.lmdb', options=BuildOptions(workers=workers))
    assert sorted(key for key, _ in report.skipped) == [
        'bee/cut.JPG', 'bee/empty.jpg', 'bee/gone.jpg', 'bee/text.png',
    ]  # fmt: skip
    reasons = dict(report.skipped)
    assert reasons['bee/empty.jpg'] == 'the file is empty'
    assert 'FileNotFoundError' in reasons['bee/gone.jpg']
    reader = LMDBReader(tmp_path / 'a.lmdb')
    assert [tuple(item) for item in reader.skipped] == report.skipped
    assert records_of(reader.path) == files_of(image_folder)
    assert reader.labels().tolist() == [0] * 10 + [1] * 10 + [2] * 10


def test_garbled_pixels_are_found_by_decoding_only(image_folder, tmp_path):
    (tmp_path / 'images' / 'a').mkdir(parents=True)
    png = bytearray(encode(random_image(0), 'PNG'))
    png[len(png) // 2] ^= 255
    (tmp_path / 'images' / 'a' / 'bad.png').write_bytes(png)
    (tmp_path / 'images' / 'a' / 'good.png').write_bytes(encode(random_image(0), 'PNG'))
    for decode in (False, True):
        options = BuildOptions(workers=0, decode=decode, overwrite=True)
        report = create_lmdb(tmp_path / 'images', tmp_path / 'a.lmdb', options=options)
        assert len(report.skipped) == decode


def test_max_size_reencodes_large_images_only(tmp_path):
    (tmp_path / 'images' / 'a').mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    sources = {
        'large.jpg': encode(random_image(0, (60, 120, 3)), exif=exif),
        'palette.png': encode(Image.fromarray(random_image(1, (50, 40, 3))).quantize(8), 'PNG'),
        'small.jpg': encode(random_image(2, (20, 90, 3))),
    }
    for name, data in sources.items():
        (tmp_path / 'images' / 'a' / name).write_bytes(data)
    create_lmdb(tmp_path / 'images', tmp_path / 'a.lmdb', options=BuildOptions(0, max_size=30))
    reader = LMDBReader(tmp_path / 'a.lmdb')
    assert reader.resized().tolist() == [0, 1]
    assert (reader.header.num_resized, reader.header.max_size) == (2, 30)
    large = Image.open(io.BytesIO(reader.get('a/large.jpg')))
    assert (large.size, large.format, large.getexif()[0x0112]) == ((60, 30), 'JPEG', 6)
    assert Image.open(io.BytesIO(reader.get('a/palette.png'))).size == (30, 38)
    assert reader.get('a/small.jpg') == sources['small.jpg']
    assert verify_lmdb(reader.path, decode=True) == []


def test_limit_spreads_over_the_classes(image_folder):
    listing = list_source(image_folder).spread(6)
    assert listing.labels == [0, 0, 1, 1, 2, 2]
    assert len(list_source(image_folder).spread(1000)) == 30


def test_map_grows_when_the_estimate_is_too_small(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmvmamba.datasets.lmdb.writer.estimate_map_size', lambda *_: 40960)
    monkeypatch.setattr('mmvmamba.datasets.lmdb.writer.SPARE_BYTES', 0)
    sizes = []
    grow = lmdb.Environment.set_mapsize

    class Environment:
        def __init__(self, env):
            self.env = env

        def __getattr__(self, name):
            return getattr(self.env, name)

        def set_mapsize(self, size):
            sizes.append(size)
            grow(self.env, size)

    opened = lmdb.open
    monkeypatch.setattr(
        'mmvmamba.datasets.lmdb.writer.lmdb.open', lambda *a, **k: Environment(opened(*a, **k))
    )
    create_lmdb(image_folder, tmp_path / 'a.lmdb', options=ALONE)
    monkeypatch.undo()
    assert sizes and all(isinstance(size, int) for size in sizes)
    assert records_of(tmp_path / 'a.lmdb') == files_of(image_folder)
    assert verify_lmdb(tmp_path / 'a.lmdb') == []


def test_an_existing_database_is_replaced_on_request_only(image_folder, tmp_path):
    create_lmdb(image_folder, tmp_path / 'a.lmdb', options=ALONE)
    reader = LMDBReader(tmp_path / 'a.lmdb')
    assert len(reader) == 30
    with pytest.raises(LMDBDataError, match=r'already there .*a\.lmdb.*--overwrite'):
        create_lmdb(image_folder, tmp_path / 'a.lmdb', options=ALONE)
    listing = list_source(image_folder).spread(6)
    LMDBWriter(listing, tmp_path / 'a.lmdb', BuildOptions(0, overwrite=True)).run()
    assert len(LMDBReader(tmp_path / 'a.lmdb')) == 6
    assert os.listdir(tmp_path) == ['a.lmdb']


def break_off(listing, output, after):
    """Builds until ``after`` images have been read, in transactions of four."""

    class Stop(Exception):
        pass

    def load(*args):
        for image in load_images(*args):
            if image.index == after:
                raise Stop
            yield image

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr('mmvmamba.datasets.lmdb.writer.load_images', load)
        LMDBWriter(listing, output, BuildOptions(0, batch_images=4)).run()


def test_a_half_built_database_is_never_taken_for_a_whole_one(image_folder, tmp_path):
    listing = list_source(image_folder)
    break_off(listing, tmp_path / 'a.lmdb', after=13)
    assert not (tmp_path / 'a.lmdb').exists()
    with pytest.raises(LMDBDataError, match=r'a\.lmdb.*interrupted.*again'):
        len(LMDBReader(tmp_path / 'a.lmdb'))
    with pytest.raises(LMDBDataError, match=r'half-built .*goes on where it stopped'):
        len(LMDBReader(tmp_path / 'a.lmdb.partial'))


def test_an_interrupted_build_goes_on(image_folder, tmp_path):
    listing = list_source(image_folder)
    break_off(listing, tmp_path / 'a.lmdb', after=13)
    with pytest.raises(LMDBDataError, match=r'other images or options .*--restart'):
        LMDBWriter(listing.spread(6), tmp_path / 'a.lmdb', ALONE).run()
    report = LMDBWriter(listing, tmp_path / 'a.lmdb', ALONE).run()
    assert report.resumed_at == 12
    create_lmdb(image_folder, tmp_path / 'b.lmdb', options=ALONE)
    whole = LMDBReader(tmp_path / 'b.lmdb')
    assert report.header == whole.header
    assert records_of(tmp_path / 'a.lmdb') == records_of(whole.path)
    assert verify_lmdb(tmp_path / 'a.lmdb', decode=True) == []


def test_restart_throws_an_interrupted_build_away(image_folder, tmp_path):
    listing = list_source(image_folder)
    break_off(listing, tmp_path / 'a.lmdb', after=13)
    report = LMDBWriter(listing.spread(6), tmp_path / 'a.lmdb', BuildOptions(0, restart=True)).run()
    assert (report.resumed_at, report.header.num_records) == (0, 6)


SLOW_BUILD = """
import sys, time
from mmvmamba.datasets.lmdb import loading
from mmvmamba.datasets.lmdb.writer import BuildOptions, create_lmdb
load = loading._load
def slowly(*args):
    time.sleep(0.05)
    return load(*args)
loading._load = slowly
create_lmdb(sys.argv[1], sys.argv[2], options=BuildOptions(workers=2, batch_images=2))
"""


def test_a_killed_build_leaves_no_reader_and_goes_on(image_folder, tmp_path):
    output = tmp_path / 'a.lmdb'
    process = subprocess.Popen(
        [sys.executable, '-c', SLOW_BUILD, str(image_folder), str(output)], start_new_session=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and _done(output) < 6:
        time.sleep(0.05)
    done = _done(output)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 6 <= done < 30
    assert not output.exists()
    report = create_lmdb(image_folder, output, options=ALONE)
    assert report.resumed_at >= done
    assert records_of(output) == files_of(image_folder)
    assert verify_lmdb(output) == []
    # The reader processes were in the killed writer's session.
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def _done(output):
    """Images that the build has committed."""
    file = output.with_name('a.lmdb.partial') / 'data.mdb'
    if not file.exists() or file.stat().st_size < 8192:
        return 0
    code = (
        'import json, lmdb, sys; env = lmdb.open(sys.argv[1], readonly=True, lock=False);'
        'value = env.begin().get(b"__mmvmamba__/state"); print(json.loads(value or "{}"))'
    )
    found = subprocess.run(
        [sys.executable, '-c', code, str(file.parent)], capture_output=True, text=True, check=False
    )
    return eval(found.stdout)['done'] if 'done' in found.stdout else 0


def test_a_second_builder_is_refused(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmvmamba.datasets.lmdb.writer.LOCK_SECONDS', 0.1)
    listing = list_source(image_folder)
    writer = LMDBWriter(listing, tmp_path / 'a.lmdb', ALONE)
    writer.partial.mkdir()
    with (
        writer._exclusive(),
        pytest.raises(LMDBDataError, match='another process is building'),
    ):
        LMDBWriter(listing, tmp_path / 'a.lmdb', ALONE).run()


def test_a_full_disk_is_told_beforehand(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda _: type('Usage', (), {'free': 1000}))
    with pytest.raises(LMDBDataError, match=r'GB are needed, 0\.0 GB are free'):
        create_lmdb(image_folder, tmp_path / 'a.lmdb', options=ALONE)


def test_a_killed_reader_ends_the_build_with_a_message(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('mmvmamba.datasets.lmdb.loading._load', lambda *_: os._exit(9))
    with pytest.raises(ValueError, match=r'reader process failed or was killed.*fewer --workers'):
        create_lmdb(image_folder, tmp_path / 'a.lmdb', options=BuildOptions(workers=2))


@pytest.mark.parametrize('slot_bytes', [1, 1500, 1 << 16])
@pytest.mark.parametrize('max_size', [0, 20])
def test_images_of_any_size_come_through_shared_memory(
    slot_bytes, max_size, image_folder, tmp_path, monkeypatch
):
    """None, some or all of the images fit into their places, of which there are few."""
    folder = shutil.copytree(image_folder, tmp_path / 'train')
    (folder / 'ant' / 'bad.JPEG').write_bytes(b'rubbish')
    sizes = [len(data) for data in files_of(folder).values()]
    assert min(sizes) < 1500 < max(sizes) < 1 << 16
    listing = list_source(folder)
    want = LMDBWriter(listing, tmp_path / 'a.lmdb', BuildOptions(0, max_size)).run()
    monkeypatch.setattr('mmvmamba.datasets.lmdb.loading.SLOTS', 3)
    monkeypatch.setattr('mmvmamba.datasets.lmdb.loading.SLOT_BYTES', slot_bytes)
    got = LMDBWriter(listing, tmp_path / 'b.lmdb', BuildOptions(2, max_size)).run()
    assert got.header == want.header
    assert got.skipped == want.skipped != []
    assert records_of(tmp_path / 'b.lmdb') == records_of(tmp_path / 'a.lmdb')
    assert verify_lmdb(tmp_path / 'b.lmdb') == []


def test_bad_sources_end_in_one_message(image_folder, tmp_path):
    with pytest.raises(LMDBDataError, match=r'no such file or folder .*nowhere'):
        list_source(tmp_path / 'nowhere')
    (tmp_path / 'empty' / 'a').mkdir(parents=True)
    with pytest.raises(LMDBDataError, match='no image with an extension'):
        list_source(tmp_path / 'empty')
    (tmp_path / 'flat').mkdir()
    (tmp_path / 'flat' / 'a.jpg').write_bytes(encode(random_image(0)))
    with pytest.raises(LMDBDataError, match='a flat folder --list'):
        list_source(tmp_path / 'flat')
    (tmp_path / 'list.txt').write_text('a.jpg\n')
    with pytest.raises(LMDBDataError, match=r"line 1 must be .* got 'a\.jpg'"):
        list_source(tmp_path / 'flat', list_file=tmp_path / 'list.txt')
    (tmp_path / 'list.txt').write_text('a.jpg 0\na.jpg 1\n')
    with pytest.raises(LMDBDataError, match=r'the same key occurs twice .*a\.jpg'):
        list_source(tmp_path / 'flat', list_file=tmp_path / 'list.txt')
    (tmp_path / 'list.txt').write_text('a.jpg 7\n')
    with pytest.raises(LMDBDataError, match=r'must be below 2, the number of classes, got 7'):
        list_source(tmp_path / 'flat', list_file=tmp_path / 'list.txt', classes=['a', 'b'])
    with pytest.raises(LMDBDataError, match='class names given must be those of'):
        list_source(image_folder, classes=['ant', 'bee'])
    with pytest.raises(ValueError, match=r"layout must be one of .*got 'tre'"):
        list_source(image_folder, 'tre')
    (tmp_path / 'bad.tar').write_bytes(b'no tar' * 1000)
    with pytest.raises(LMDBDataError, match='not a readable, uncompressed tar'):
        list_source(tmp_path / 'bad.tar')


def test_given_classes_decide_the_labels(image_folder):
    listing = list_source(image_folder, classes=['cat dog', 'bee', 'ant'])
    assert listing.labels == [2] * 10 + [1] * 10 + [0] * 10


@pytest.mark.parametrize(
    'key', ['a/' + 'x' * 510, '../a.jpg', '/a.jpg', '__mmvmamba__/keys', 'a//b']
)
def test_a_key_that_cannot_be_stored_is_refused(key, tmp_path):
    # Python's and LMDB's limits are in bytes; file systems let single names have 255 only.
    from mmvmamba.datasets.lmdb.sources import _check

    with pytest.raises(LMDBDataError, match=r'a key (may have 511 bytes, got 512|must be)'):
        _check(Listing('tree', [key], [('x', 0, -1)], None, None), 'somewhere')


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / 'images' / 'a').mkdir(parents=True)
    (tmp_path / 'images' / 'a' / 'x.jpg').write_bytes(b'no image')
    with pytest.raises(LMDBDataError, match=r'none of the 1 images could be read.*a/x\.jpg'):
        create_lmdb(tmp_path / 'images', tmp_path / 'a.lmdb', options=ALONE)


def test_verify_names_changed_and_missing_records(database, tmp_path):
    shutil.copytree(database, tmp_path / 'a.lmdb')
    env = lmdb.open(str(tmp_path / 'a.lmdb'), map_size=1 << 28)
    with env.begin(write=True) as txn:
        data = bytearray(txn.get(b'ant/0 x.JPEG'))
        data[100] ^= 1
        txn.put(b'ant/0 x.JPEG', bytes(data))
        txn.put(b'ant/1 x.JPEG', txn.get(b'ant/1 x.JPEG') + b'x')
        txn.delete(b'bee/0 x.JPEG')
        txn.put(b'stray.jpg', b'')
    env.close()
    defects = dict(verify_lmdb(tmp_path / 'a.lmdb', workers=2))
    assert set(defects) == {'ant/0 x.JPEG', 'ant/1 x.JPEG', 'bee/0 x.JPEG', 'stray.jpg'}
    assert 'missing' in defects['bee/0 x.JPEG']
    assert 'SHA-256' in defects['ant/0 x.JPEG'] and 'bytes' in defects['ant/1 x.JPEG']
    written = dict(export_lmdb(tmp_path / 'a.lmdb', tmp_path / 'out'))
    assert set(written) == {'ant/0 x.JPEG', 'ant/1 x.JPEG', 'bee/0 x.JPEG'}
