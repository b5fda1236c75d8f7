import os
import shutil
from collections import Counter

import pytest
import torch

from mmvmamba.engine import latest_checkpoint
from mmvmamba.engine.checkpoint_files import remove_stopped, replacing, write_note
from tests.fuzz import mutate


def save(path, age=0):
    torch.save({'state_dict': {'weight': torch.zeros(100)}, 'meta': {}}, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def damage(path, how):
    content = path.read_bytes()
    if how == 'flipped':
        # Within the weights, which are zeros.
        at = content.index(bytes(400))
        path.write_bytes(content[:at] + b'\1' + content[at + 1 :])
    else:
        kept = {'empty': 0, 'halved': len(content) // 2, 'short': len(content) - 1}[how]
        path.write_bytes(content[:kept])
    os.utime(path, (1e9, 1e9))


def test_a_folder_without_checkpoints_has_none(tmp_path):
    save(tmp_path / 'best.pth')
    assert latest_checkpoint(str(tmp_path)) is None
    assert latest_checkpoint(str(tmp_path / 'missing')) is None


def test_the_note_decides(tmp_path):
    save(tmp_path / 'epoch_3.pth', age=9)
    save(tmp_path / 'epoch_12.pth')  # of an earlier run
    (tmp_path / 'last_checkpoint').write_text('/moved/away/epoch_3.pth')
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_3.pth')


def test_the_note_may_name_another_folder(tmp_path):
    (tmp_path / 'run').mkdir()
    checkpoint = save(tmp_path / 'epoch_1.pth')
    write_note(str(tmp_path / 'run'), str(checkpoint))
    assert latest_checkpoint(str(tmp_path / 'run')) == str(checkpoint)


GARBAGE = {
    'empty': b'',
    'deleted': b'epoch_1.pth',
    'binary': bytes(range(256)),
    'nul': b'epoch_9.pth\0',
    'endless': b'x' * 100_000,
    'folder': b'.',
}


@pytest.mark.parametrize('note', GARBAGE.values(), ids=GARBAGE)
def test_a_broken_note_gives_way_to_the_newest(note, tmp_path):
    save(tmp_path / 'epoch_9.pth', age=9)
    save(tmp_path / 'epoch_10.pth')
    (tmp_path / 'last_checkpoint').write_bytes(note)
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')


WORDS = {
    'empty': 'is empty',
    'halved': 'is damaged, was cut off, or is another kind of file (File is not a zip file)',
    'short': 'is damaged, was cut off, or is another kind of file (File is not a zip file)',
    'flipped': "(Bad CRC-32 for file 'epoch_3/data/0')",
}


@pytest.mark.parametrize('how', WORDS)
def test_a_damaged_checkpoint_is_passed_over_and_named(how, tmp_path, capsys):
    save(tmp_path / 'epoch_1.pth', age=9)
    good = save(tmp_path / 'epoch_2.pth', age=5)
    torn = save(tmp_path / 'epoch_3.pth')
    damage(torn, how)
    write_note(str(tmp_path), str(torn))
    assert latest_checkpoint(str(tmp_path)) == str(good)
    said = capsys.readouterr()
    assert f'passed over a checkpoint: {torn} ' in said.out + said.err
    assert WORDS[how] in said.out + said.err


def test_whatever_a_damaged_file_looks_like_another_is_found(tmp_path):
    good, torn = save(tmp_path / 'epoch_1.pth'), tmp_path / 'epoch_2.pth'
    content = good.read_bytes()
    found = Counter()
    for seed in range(300):
        torn.write_bytes(mutate(content, seed))
        found[latest_checkpoint(str(tmp_path))] += 1
    # The others are as good as whole: damaged in a date, an attribute or what fills up a record.
    assert found.keys() == {str(good), str(torn)}
    assert found[str(good)] > 250


def test_if_every_checkpoint_is_damaged_there_is_none(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        damage(save(tmp_path / name), 'halved')
    shutil.make_archive(str(tmp_path / 'other'), 'zip', tmp_path)
    (tmp_path / 'other.zip').rename(tmp_path / 'iter_3.pth')
    assert latest_checkpoint(str(tmp_path)) is None


def test_a_stopped_run_is_found(tmp_path):
    save(tmp_path / 'epoch_1.pth', age=9)
    stopped = save(tmp_path / 'stopped_iter_7.pth')
    save(tmp_path / 'stopped_iter_other.pth')
    assert latest_checkpoint(str(tmp_path)) == str(stopped)


def test_checkpoints_of_stopped_runs_go_when_a_later_one_is_there(tmp_path):
    names = ('stopped_iter_7.pth', 'stopped_iter_8.pth', 'stopped_iter_9.pth', 'stopped_iter_.pth')
    for name in names:
        save(tmp_path / name)
    remove_stopped(str(tmp_path), 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'stopped_iter_.pth',
        'stopped_iter_9.pth',
    ]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'note'
    path.write_text('old')
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text('ne')
        raise KeyboardInterrupt
    assert path.read_text() == 'old'
    with replacing(path) as part:
        part.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert [item.name for item in tmp_path.iterdir()] == ['note']


def test_file_and_folder_reach_the_disk_before_and_after_the_renaming(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, 'fsync', lambda fd: (done.append(os.readlink(f'/proc/self/fd/{fd}')), fsync(fd))
    )
    monkeypatch.setattr(os, 'replace', lambda *paths: (done.append('rename'), replace(*paths)))
    with replacing(tmp_path / 'a.pth') as part:
        part.write_bytes(b'new')
    assert done == [str(tmp_path / 'a.pth.part'), 'rename', str(tmp_path)]
