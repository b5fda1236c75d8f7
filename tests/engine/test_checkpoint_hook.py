import errno
from pathlib import Path

import pytest
from mmengine import runner as mmengine_runner
from mmengine.fileio import LocalBackend

from mmvmamba.engine import latest_checkpoint
from mmvmamba.engine.run_errors import RunError

from .small_run import small_runner

KEEP_ONE = dict(type='mmvmamba.CheckpointHook', interval=1, max_keep_ckpts=1)


def checkpoints(folder):
    return sorted(path.name for path in folder.glob('*.pth*'))


def fail_at(monkeypatch, name):
    """Has the disk be full when a file of this name is written."""
    put = LocalBackend.put

    def full(self, content, path):
        if Path(path).name.startswith(name):
            Path(path).write_bytes(content[:100])
            raise OSError(errno.ENOSPC, 'No space left on device')
        put(self, content, path)

    monkeypatch.setattr(LocalBackend, 'put', full)


def test_outdated_checkpoints_are_deleted(tmp_path):
    small_runner(tmp_path, {**KEEP_ONE, 'max_keep_ckpts': 2}).train()
    assert checkpoints(tmp_path) == ['epoch_2.pth', 'epoch_3.pth']
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_3.pth')


def test_the_only_checkpoint_outlives_a_write_that_fails(tmp_path, monkeypatch):
    fail_at(monkeypatch, 'epoch_2')
    with pytest.raises(RunError, match='No space left'):
        small_runner(tmp_path, KEEP_ONE).train()
    assert checkpoints(tmp_path) == ['epoch_1.pth']
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')


def test_what_a_kill_left_too_many_goes_when_the_run_is_resumed(tmp_path):
    small_runner(tmp_path, KEEP_ONE, epochs=1).train()
    first = (tmp_path / 'epoch_1.pth').read_bytes()
    small_runner(
        tmp_path, KEEP_ONE, epochs=2, resume=True, load_from=str(tmp_path / 'epoch_1.pth')
    ).train()
    # Killed between writing the second and deleting the first.
    (tmp_path / 'epoch_1.pth').write_bytes(first)
    latest = latest_checkpoint(str(tmp_path))
    small_runner(tmp_path, KEEP_ONE, epochs=3, resume=True, load_from=latest).train()
    assert checkpoints(tmp_path) == ['epoch_3.pth']


def test_the_best_checkpoint_outlives_a_write_that_fails(tmp_path, monkeypatch):
    fail_at(monkeypatch, 'best_scripted_acc_epoch_2')
    hook = {**KEEP_ONE, 'save_best': 'scripted/acc'}
    with pytest.raises(RunError, match='No space left'):
        small_runner(tmp_path, hook, figures=(1, 2)).train()
    assert checkpoints(tmp_path) == ['best_scripted_acc_epoch_1.pth', 'epoch_2.pth']


@pytest.mark.parametrize(
    ('figures', 'best'), [((1, 2, 3), 3), ((3, 2, 1), 1), ((2, 3, 1), 2)], ids=str
)
@pytest.mark.parametrize('save_best', ['auto', ['scripted/acc', 'scripted/other']], ids=str)
def test_one_best_checkpoint_is_kept(save_best, figures, best, tmp_path):
    hook = {**KEEP_ONE, 'save_best': save_best, 'rule': 'greater'}
    runner = small_runner(tmp_path, hook, figures=figures)
    metric = runner._val_evaluator[0]
    metric.compute_metrics = lambda results: {
        'acc': metric.figures[0],
        'other': -metric.figures.pop(0),
    }
    runner.train()
    expected = {f'best_scripted_acc_epoch_{best}.pth', 'epoch_3.pth'}
    if save_best != 'auto':
        worst = 1 + figures.index(min(figures))
        expected.add(f'best_scripted_other_epoch_{worst}.pth')
    assert set(checkpoints(tmp_path)) == expected


def test_the_note_is_never_half_written(tmp_path, monkeypatch):
    small_runner(tmp_path, KEEP_ONE, epochs=1).train()
    old = (tmp_path / 'last_checkpoint').read_text()

    def full(self, text):
        Path.write_bytes(self, text[:5].encode())
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(RunError, match='No space left'):
        small_runner(
            tmp_path, KEEP_ONE, epochs=2, resume=True, load_from=str(tmp_path / 'epoch_1.pth')
        ).train()
    assert (tmp_path / 'last_checkpoint').read_text() == old
    assert not list(tmp_path.glob('*.part'))


def test_left_over_parts_are_removed_at_the_start(tmp_path):
    for name in ('epoch_7.pth.part', 'last_checkpoint.part', 'best_x.pth.part'):
        (tmp_path / name).write_bytes(b'half')
    (tmp_path / 'notes.part').write_bytes(b'of the user')
    small_runner(tmp_path, KEEP_ONE, epochs=1).train()
    assert [path.name for path in tmp_path.glob('*.part')] == ['notes.part']


def test_a_folder_of_its_own_gets_whole_checkpoints_from_the_first(tmp_path, monkeypatch):
    fail_at(monkeypatch, 'epoch_1')
    with pytest.raises(RunError, match='No space left'):
        small_runner(tmp_path / 'run', {**KEEP_ONE, 'out_dir': str(tmp_path / 'all')}).train()
    assert checkpoints(tmp_path / 'all' / 'run') == []


def test_mmengine_saves_under_the_name_it_is_given(tmp_path, monkeypatch):
    """The temporary name reaches the disk through mmengine's own saving."""
    names = []
    save = mmengine_runner.Runner.save_checkpoint

    def noted(self, out_dir, filename, *args, **kwargs):
        names.append(filename)
        save(self, out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(mmengine_runner.Runner, 'save_checkpoint', noted)
    small_runner(tmp_path, KEEP_ONE, epochs=1).train()
    assert names == ['epoch_1.pth.part']
