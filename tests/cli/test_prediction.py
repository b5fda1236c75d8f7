"""``mmvmamba predict`` with random weights of toy models."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis.classifiers import build_classifier
from mmvmamba.apis.task_models import build_from_config
from mmvmamba.cli.inputs import find_inputs
from mmvmamba.cli.main import main
from mmvmamba.cli.prediction import summary
from tests.tools.conftest import ROOT

CONFIGS = {
    'instances': 'det_mambaout_maskrcnn',
    'regions': 'seg_mambaout',
    'classes': 'cls_mambaout',
}
SIZE = 48, 64


def config_of(kind):
    return str(ROOT / f'configs/toy/{CONFIGS[kind]}.py')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Two pictures, one of them in a folder of its own, a file that is none, and a video."""
    folder = tmp_path_factory.mktemp('files')
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    (folder / 'photos/deep').mkdir(parents=True)
    cv2.imwrite(str(folder / 'photos/a.png'), picture)
    shutil.copy(folder / 'photos/a.png', folder / 'photos/deep/a.JPG')
    (folder / 'photos/notes.txt').write_text('no picture')
    (folder / 'broken.png').write_bytes(b'no picture')
    (folder / 'empty').mkdir()
    video = cv2.VideoWriter(str(folder / 'v.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 5, SIZE[::-1])
    for _ in range(2):
        video.write(picture)
    video.release()
    return folder


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp('weights'), {}

    def write(kind):
        if kind not in made:
            config = Config.fromfile(config_of(kind))
            torch.manual_seed(0)
            build = build_classifier if kind == 'classes' else build_from_config
            made[kind] = str(folder / f'{kind}.pth')
            torch.save(dict(state_dict=build(config).state_dict()), made[kind])
        return made[kind]

    return write


@pytest.fixture
def predict(weights, capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder; gives its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*inputs, kind='classes', model=None):
        options = ('--model', model or config_of(kind), '--weights', weights(kind))
        try:
            code = main(['predict', *map(str, inputs), *options, '--device', 'cpu'])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize('kind', CONFIGS)
def test_each_task_writes_picture_and_record(predict, files, tmp_path, kind):
    code, text, _ = predict(files / 'photos/a.png', '--out', 'here', kind=kind)
    assert code == 0
    record = json.loads((tmp_path / 'here/a.json').read_text())
    assert kind in record and record['image'] == str(files / 'photos/a.png')
    assert (record['height'], record['width']) == SIZE
    assert cv2.imread(str(tmp_path / 'here/a.png')).size
    assert text.splitlines()[0] == f'{files}/photos/a.png: {summary(record)}'
    assert sorted(path.name for path in tmp_path.rglob('*.*')) == ['a.json', 'a.png']


def test_json_goes_to_the_output_and_nothing_to_the_disk(predict, files, tmp_path):
    code, text, _ = predict(files / 'photos', files / 'v.avi', '--json')
    assert code == 0
    first, second, video = map(json.loads, text.splitlines())
    assert first['image'].endswith('photos/a.png') and second['image'].endswith('deep/a.JPG')
    assert first['classes'] == second['classes'] and len(video['frames']) == 2
    assert len(first['classes']) > 1
    assert not any(tmp_path.iterdir())


def test_a_model_made_ready_finds_the_same(predict, files, made_ready):
    found = []
    for option in ([], ['--optimize']):
        _, text, _ = predict(files / 'photos/a.png', '--json', *option)
        assert len(made_ready) == len(option)
        found.append({item['label']: item['score'] for item in json.loads(text)['classes']})
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_a_video_becomes_one(predict, files, tmp_path):
    assert predict(files / 'v.avi', kind='regions')[0] == 0
    record = json.loads((tmp_path / 'work_dirs/predict/v.json').read_text())
    assert record['rate'] == 5 and len(record['frames']) == 2
    video = cv2.VideoCapture(str(tmp_path / 'work_dirs/predict/v.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_a_broken_file_among_others_is_passed_over_and_told(predict, files, tmp_path):
    code, text, error = predict(files / 'photos/a.png', files / 'broken.png', '--json')
    assert code == 1
    assert len(text.splitlines()) == 1
    assert error.splitlines()[-2:] == [
        f'error: {files}/broken.png cannot be read as an image: no image format that Pillow knows',
        '1 of 2 inputs cannot be read',
    ]


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('broken.png', 'broken.png cannot be read as an image'),
        ('gone.png', 'there is no image, video or folder'),
        ('empty', 'empty holds no image or video; their names end in .jpg'),
        ('*.gif', 'no file matches'),
    ],
)
def test_bad_input_is_one_sentence(predict, files, tmp_path, name, message):
    code, text, error = predict(files / name)
    assert (code, text, error.count('\n')) == (2, '', 1)
    assert message in error
    assert not any(tmp_path.iterdir())


def test_unknown_model_names_those_that_are_near(predict, files):
    code, _, error = predict(files / 'photos/a.png', model='mambaout_femta')
    assert code == 2 and 'did you mean mambaout_femto' in error


@pytest.mark.parametrize('value', ['1.5', '-1', 'half'])
def test_scores_beyond_the_scale_are_refused(predict, files, value):
    code, _, error = predict(files / 'photos/a.png', '--score-thr', value)
    assert code == 2 and value in error


def test_inputs_have_names_of_their_own(files):
    names = ('photos', 'photos/**/*.JPG', 'photos/a.png')
    named = find_inputs([str(files / name) for name in names])
    assert [item.name for item in named] == ['a', 'deep/a']
    named = find_inputs([str(files / 'photos/a.png'), str(files / 'photos/deep/a.JPG')])
    assert [item.name for item in named] == ['a', 'a-2']


def test_summary_is_short():
    instances = [dict(name='car', score=0.9)] * 7
    assert summary(dict(instances=instances)).endswith('car 0.90 and 2 more')
    assert summary(dict(instances=[])) == 'nothing found'
    assert summary(dict(regions=[dict(name='sky', share=0.452)])) == 'sky 45%'
