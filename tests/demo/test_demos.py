"""The demos for images and videos, with random weights of toy models."""

import argparse
import importlib.util
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from pycocotools import mask as mask_utils

from mmvmamba.apis.classifiers import build_classifier, model_config
from mmvmamba.apis.task_models import build_from_config
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.predictors import add_arguments, get_predictor, read_image
from mmvmamba.visualization.panels import enlargement

ROOT = Path(__file__).parents[2]
SIZE = 90, 120
CONFIGS = {
    'boxes': 'det_mambaout_retinanet',
    'masks': 'det_mambaout_maskrcnn',
    'regions': 'seg_mambaout',
    'classes': 'cls_mambaout',
}


def load_demo(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'demo' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(kind):
    return str(ROOT / f'configs/toy/{CONFIGS[kind]}.py')


@pytest.mark.parametrize('value', ['1.5', '-1', 'half'])
def test_an_opacity_beyond_the_scale_is_refused(value, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args(['model', '--opacity', value])
    assert value in capsys.readouterr().err


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp('image') / 'shapes.png'
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    cv2.imwrite(str(path), cv2.GaussianBlur(picture, (9, 9), 0))
    return str(path)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')

    def make(kind):
        path = folder / f'{kind}.pth'
        if not path.exists():
            torch.manual_seed(0)
            config = Config.fromfile(config_of(kind))
            build = build_classifier if kind == 'classes' else build_from_config
            torch.save(dict(state_dict=build(config).state_dict()), path)
        return str(path)

    return make


@pytest.fixture
def run(tmp_path, capsys):
    def run(demo, *arguments):
        common = ['--out-dir', str(tmp_path / 'out'), '--device', 'cpu']
        load_demo(demo).main([*common, *arguments])
        return capsys.readouterr()

    return run


def fails(run, demo, *arguments):
    with pytest.raises(SystemExit) as left:
        run(demo, *arguments)
    assert left.value.code == 2


@pytest.mark.parametrize('kind', CONFIGS)
def test_image_gives_a_picture_and_a_record(kind, run, image, weights, tmp_path):
    run('image_demo', image, config_of(kind), '--weights', weights(kind), '--score-thr', '0.0')
    out = tmp_path / 'out' / f'shapes_{CONFIGS[kind]}'
    picture = cv2.imread(f'{out}.png')
    # Small images are enlarged so that text can be read.
    assert picture.shape[0] >= 400
    record = json.loads(Path(f'{out}.json').read_text())
    assert (record['height'], record['width']) == SIZE
    if kind in ('boxes', 'masks'):
        check_instances(record['instances'], kind == 'masks')
    elif kind == 'regions':
        masks = sum(mask_utils.decode(region['mask']).astype(int) for region in record['regions'])
        assert (masks == 1).all(), 'each pixel has one class'
        assert sum(region['share'] for region in record['regions']) == pytest.approx(1, abs=1e-3)
    else:
        scores = [item['score'] for item in record['classes']]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)


def check_instances(instances, with_masks):
    assert instances
    for item in instances:
        assert item.keys() == {'label', 'name', 'score', 'bbox'} | (
            {'mask'} if with_masks else set()
        )
        assert item['name'] == ('disc', 'square', 'triangle')[item['label']]
        left, top, right, bottom = item['bbox']
        assert 0 <= left <= right <= SIZE[1]
        assert 0 <= top <= bottom <= SIZE[0]
        if with_masks:
            assert mask_utils.decode(item['mask']).shape == SIZE


def test_picture_shows_no_instance_below_the_threshold(image, weights):
    predictor = get_predictor(config_of('masks'), weights('masks'), 'cpu', score_thr=1.1)
    record, picture = predictor(read_image(image))
    assert record['instances']
    factor = picture.shape[0] // SIZE[0]
    plain = cv2.resize(read_image(image), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(picture, plain)


def write_png(path, width, height):
    """A file of a kilobyte or less, whatever size it declares."""
    chunks = b'\x89PNG\r\n\x1a\n'
    rows = zlib.compress(bytes(1000))
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    for name, data in ((b'IHDR', header), (b'IDAT', rows), (b'IEND', b'')):
        check = struct.pack('>I', zlib.crc32(name + data))
        chunks += struct.pack('>I', len(data)) + name + data + check
    path.write_bytes(chunks)


@pytest.mark.parametrize(
    ('size', 'said'), [((300_000, 300_000), '90000000000 pixels'), ((300_000, 1), '300000 x 1')]
)
def test_an_image_that_declares_too_many_pixels_is_refused(size, said, tmp_path):
    write_png(tmp_path / 'bomb.png', *size)
    with pytest.raises(UserError, match=rf'bomb\.png .*{said}.*MMVMAMBA_MAX_IMAGE_PIXELS'):
        read_image(tmp_path / 'bomb.png')


def test_an_image_that_breaks_off_is_refused(image, tmp_path):
    (tmp_path / 'torn.png').write_bytes(Path(image).read_bytes()[:-200])
    with pytest.raises(UserError, match=r'torn\.png cannot be read as an image: OSError: .*trunc'):
        read_image(tmp_path / 'torn.png')


def test_a_long_strip_is_not_enlarged_beyond_a_screen():
    strip = np.zeros((4, 2000, 3), np.uint8)
    assert enlargement(strip) == 2
    assert enlargement(np.zeros((4, 9000, 3), np.uint8)) == 1
    assert enlargement(np.zeros((90, 120, 3), np.uint8)) == 5


def test_names_and_official_names_are_taken(image, tmp_path):
    model = build_classifier(model_config('mambaout_test'))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'test.pth')
    for name in ('mambaout_test', 'test_mambaout'):
        record, _ = get_predictor(name, str(tmp_path / 'test.pth'), 'cpu')(read_image(image))
        assert len(record['classes']) == 5
        assert not record['classes'][0]['name'].isdigit(), 'ImageNet has names'


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('video') / 'in.mp4')
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), 10, SIZE[::-1])
    for i in range(3):
        writer.write(np.full((*SIZE, 3), 60 * i, np.uint8))
    writer.release()
    return path


def test_video_gives_a_video_and_a_record_of_every_frame(run, video, weights, tmp_path):
    run('video_demo', video, config_of('regions'), '--weights', weights('regions'))
    out = tmp_path / 'out' / 'in_seg_mambaout'
    record = json.loads(Path(f'{out}.json').read_text())
    assert record['rate'] == 10
    assert [frame['height'] for frame in record['frames']] == [SIZE[0]] * 3
    pictures = cv2.VideoCapture(f'{out}.mp4')
    assert pictures.get(cv2.CAP_PROP_FRAME_COUNT) == 3


@pytest.mark.parametrize('demo', ['image_demo', 'video_demo'])
def test_a_model_made_ready_finds_the_same(demo, run, image, video, weights, tmp_path, made_ready):
    scores = []
    for option in ([], ['--optimize']):
        file = image if demo == 'image_demo' else video
        run(demo, file, config_of('classes'), '--weights', weights('classes'), *option)
        assert len(made_ready) == len(option)
        record = json.loads(next((tmp_path / 'out').glob('*.json')).read_text())
        frames = [record] if demo == 'image_demo' else record['frames']
        scores.append({c['label']: c['score'] for frame in frames for c in frame['classes']})
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)


@pytest.mark.parametrize('demo', ['image_demo', 'video_demo'])
def test_missing_and_unreadable_files_are_one_message(demo, run, capsys, tmp_path):
    kind = demo.partition('_')[0]
    fails(run, demo, 'nowhere.bin', 'l1_maskrcnn_1x')
    assert capsys.readouterr().err == f'error: there is no {kind} nowhere.bin\n'
    for content in (b'', b'no picture'):
        broken = tmp_path / 'broken.bin'
        broken.write_bytes(content)
        fails(run, demo, str(broken), 'l1_maskrcnn_1x')
        assert f'error: {broken} cannot be read as a' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('l1_maskrcn_1x', 'did you mean l1_maskrcnn_1x'),
        ('mambaout_tinny', 'did you mean mambaout_tiny'),
        ('configs/toy/det_mambaut_maskrcnn.py', 'did you mean configs/toy/det_mambaout_maskrcnn'),
        ('vim_t_maskrcnn_1x', 'vim_t_maskrcnn_1x has no official weights to download'),
        ('configs/toy/det_mambaout_maskrcnn.py', 'give --weights FILE'),
    ],
)
def test_unknown_models_and_missing_weights_are_one_message(
    model, message, run, image, capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    fails(run, 'image_demo', image, model)
    assert message in capsys.readouterr().err


def test_weights_that_do_not_exist_or_fit_are_one_message(run, image, weights, capsys):
    fails(run, 'image_demo', image, config_of('boxes'), '--weights', 'nowhere.pth')
    assert 'checkpoint nowhere.pth does not exist' in capsys.readouterr().err
    for kind, other in (('boxes', 'masks'), ('regions', 'masks'), ('classes', 'masks')):
        fails(run, 'image_demo', image, config_of(kind), '--weights', weights(other))
        assert 'does not fit' in capsys.readouterr().err, kind


@pytest.mark.parametrize('device', ['cuda:99', 'tpu', 'cpu:x'])
def test_a_device_that_is_not_there_is_one_message(device, run, image, capsys):
    fails(run, 'image_demo', image, 'l1_maskrcnn_1x', '--device', device)
    said = capsys.readouterr().err
    assert said == (
        f'error: --device {device} is none that this machine has; leave it out, or give cpu\n'
    )
