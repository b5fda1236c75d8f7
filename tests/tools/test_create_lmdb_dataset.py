"""`tools/dataset_converters/create_lmdb_dataset.py` as a user runs it."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'create_lmdb_dataset.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('create_lmdb_dataset', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *argv: module.main([str(item) for item in argv])


@pytest.fixture
def images(tmp_path):
    for name in ('a', 'b'):
        folder = tmp_path / 'train' / name
        folder.mkdir(parents=True)
        for i in range(4):
            array = np.full((20 + 20 * i, 30 + 20 * i, 3), 40 * i, np.uint8)
            Image.fromarray(array).save(folder / f'{i}.JPG')
    return tmp_path / 'train'


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*.*')}


@pytest.mark.parametrize('command', ['create', 'build'])
def test_create_info_verify_export(tool, images, tmp_path, capsys, command):
    base = tmp_path / 'train.lmdb'
    assert tool(command, images, base, '--workers', 2, '--verify', '--quiet') == 0
    assert 'every record is what was stored' in capsys.readouterr().out
    assert tool('info', base) == 0
    out = capsys.readouterr().out
    assert 'num_records:  8' in out and 'classes:      a, b' in out
    assert tool('info', base, '--json') == 0
    header = json.loads(capsys.readouterr().out)
    assert (header['num_records'], header['version']) == (8, 2)
    assert tool('verify', base, '--decode', '--quiet', '--workers', 0) == 0
    assert tool('export', base, tmp_path / 'again', '--quiet', '--list', tmp_path / 'l.txt') == 0
    assert files_of(tmp_path / 'again') == files_of(images)
    assert (tmp_path / 'l.txt').read_text().splitlines()[4] == 'b/0.JPG 1'


def test_shards_are_built_and_merged(tool, images, tmp_path, capsys):
    base = tmp_path / 'train.lmdb'
    for shard in ('1/2', '2/2'):
        assert tool('create', images, base, '--shard', shard, '--quiet', '--workers', 0) == 0
    shards = sorted(tmp_path.glob('train-*.lmdb'))
    assert [path.name for path in shards] == [f'train-0000{i}-of-00002.lmdb' for i in (1, 2)]
    assert tool('info', shards[1]) == 0
    assert 'shard:        2 of 2' in capsys.readouterr().out
    assert tool('merge', *shards, base, '--quiet') == 0
    assert tool('verify', base, '--quiet', '--workers', 0) == 0
    assert f'{base}: 8 images' in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        tool('merge', shards[0], tmp_path / 'other.lmdb', '--quiet')
    assert end.value.code == 2 and 'shards 2 of 2 are missing' in capsys.readouterr().err
    for wrong in ('2', '0/2', '3/2', 'a/b'):
        with pytest.raises(SystemExit) as end:
            tool('create', images, base, '--shard', wrong)
        assert end.value.code == 2 and 'must be I/N with 1 <= I <= N' in capsys.readouterr().err


def test_unreadable_images_are_reported_and_set_the_exit_code(tool, images, tmp_path, capsys):
    (images / 'b' / 'bad.jpeg').write_bytes(b'no image')
    base = tmp_path / 'train.lmdb'
    assert tool('create', images, base, '--quiet', '--workers', 0) == 1
    report = Path(f'{base}.unreadable.txt')
    key, reason = report.read_text().rstrip('\n').split('\t')
    assert key == 'b/bad.jpeg' and 'no image format' in reason
    assert str(report) in capsys.readouterr().out
    (images / 'b' / 'bad.jpeg').unlink()
    assert tool('create', images, base, '--quiet', '--workers', 0, '--overwrite') == 0
    assert not report.exists()


def test_limit_and_max_size(tool, images, tmp_path, capsys):
    base = tmp_path / 'a.lmdb'
    argv = ['--limit', 4, '--max-size', 50, '--quiet', '--workers', 0]
    assert tool('create', images, base, *argv) == 0
    assert '2 were re-encoded to a short edge of 50' in capsys.readouterr().out
    assert tool('info', base) == 0
    assert 'num_resized:  2' in capsys.readouterr().out


def test_dry_run_writes_nothing(tool, images, tmp_path, capsys):
    before = sorted(tmp_path.rglob('*'))
    assert tool('create', images, tmp_path / 'a.lmdb', '--dry-run') == 0
    assert 'images:       8 (first key: a/0.JPG)' in capsys.readouterr().out
    assert sorted(tmp_path.rglob('*')) == before


def test_verify_fails_for_a_changed_record(tool, images, tmp_path, capsys):
    base = tmp_path / 'a.lmdb'
    tool('create', images, base, '--quiet', '--workers', 0)
    # LMDB leaves copies of small records on pages that are no longer in use: change them all.
    end = (images / 'a' / '3.JPG').read_bytes()[-300:]
    data = (base / 'data.mdb').read_bytes()
    assert end in data
    (base / 'data.mdb').write_bytes(data.replace(end, bytes(300)))
    assert tool('verify', base, '--quiet', '--workers', 0) == 1
    assert '3.JPG: the SHA-256 must be' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['create', '{tmp}/none', '{tmp}/a.lmdb'], 'no such file or folder'),
        (['create', '{tmp}/train/a', '{tmp}/a.lmdb'], '--list'),
        (['create', '{tmp}/train', '{tmp}/train'], 'already there'),
        (['info', '{tmp}/none.lmdb'], 'there is no LMDB database'),
        (['verify', '{tmp}/train'], 'there is no LMDB database'),
        (['export', '{tmp}/none.lmdb', '{tmp}/out'], 'there is no LMDB database'),
        (
            ['create', '{tmp}/train', '{tmp}/a.lmdb', '--layout', 'tree', '--max-size', '8'],
            'max_size',
        ),
    ],
)
def test_bad_input_ends_in_one_line(tool, images, tmp_path, capsys, argv, message):
    with pytest.raises(SystemExit) as caught:
        tool(*(item.format(tmp=tmp_path) for item in argv))
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith('error: ') and error.count('\n') == 1 and message in error
