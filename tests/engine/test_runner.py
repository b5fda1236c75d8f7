import os

import pytest
import torch
from mmengine import runner as mmengine_runner

from mmvmamba.engine import Runner, latest_checkpoint


def touch(path, age=0):
    path.write_bytes(b'')
    os.utime(path, (1e9 - age, 1e9 - age))


def test_a_folder_without_checkpoints_has_none(tmp_path):
    touch(tmp_path / 'best.pth')
    assert latest_checkpoint(str(tmp_path)) is None
    assert latest_checkpoint(str(tmp_path / 'missing')) is None


def test_the_note_decides(tmp_path):
    touch(tmp_path / 'epoch_3.pth', age=9)
    touch(tmp_path / 'epoch_12.pth')  # of an earlier run
    (tmp_path / 'last_checkpoint').write_text('/moved/away/epoch_3.pth')
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_3.pth')


@pytest.mark.parametrize('note', ['', 'epoch_1.pth'], ids=['empty', 'deleted'])
def test_a_broken_note_gives_way_to_the_newest(note, tmp_path):
    touch(tmp_path / 'epoch_9.pth', age=9)
    touch(tmp_path / 'epoch_10.pth')
    (tmp_path / 'last_checkpoint').write_text(note)
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(b'old')

    def half(self, out_dir, filename):
        (tmp_path / filename).write_bytes(b'ne')
        raise SystemExit('killed')

    monkeypatch.setattr(mmengine_runner.Runner, 'save_checkpoint', half)
    runner = object.__new__(Runner)
    with pytest.raises(SystemExit):
        runner.save_checkpoint(str(tmp_path), 'epoch_1.pth')
    assert path.read_bytes() == b'old'
    assert latest_checkpoint(str(tmp_path)) == str(path)


def test_a_complete_checkpoint_takes_its_name(tmp_path, monkeypatch):
    def whole(self, out_dir, filename):
        torch.save({'epoch': 1}, tmp_path / filename)

    monkeypatch.setattr(mmengine_runner.Runner, 'save_checkpoint', whole)
    object.__new__(Runner).save_checkpoint(str(tmp_path), 'epoch_1.pth')
    assert [p.name for p in tmp_path.iterdir()] == ['epoch_1.pth']
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=True) == {'epoch': 1}
