"""``mmvmamba train --data``: which layout a folder has, or what was looked for."""

import pytest

from mmvmamba.cli.errors import UserError
from mmvmamba.cli.main import main
from mmvmamba.cli.own_data import recognise

LOOKED_FOR = ('COCO', 'YOLO', 'images and masks', 'class folders')


def test_an_unknown_folder_ends_in_what_was_looked_for(tmp_path, capsys):
    for name in ('a.txt', 'photos/1.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    arguments = ['--data', str(tmp_path), '--model', 'mambaout_test']
    with pytest.raises(SystemExit, match='2'):
        main(['train', *arguments, '--work-dir', str(tmp_path / 'run')])
    error = capsys.readouterr().err
    assert 'has none of the layouts that are known; it holds a.txt, photos.' in error
    lines = error.splitlines()[1:]
    assert [line.split(': DIR/')[0].strip() for line in lines] == list(LOOKED_FOR)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('name', 'message'), [('gone', 'gone is no folder'), ('', 'it holds no files')]
)
def test_no_folder_and_an_empty_one(name, message, tmp_path):
    with pytest.raises(UserError, match=message):
        recognise(str(tmp_path / name))
