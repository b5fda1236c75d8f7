"""What stands behind the web page, without a browser."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmvmamba.apis.bare_models import bare_config, build_bare
from mmvmamba.cli.errors import UserError
from mmvmamba.cli.web import service

CONFIGS = Path(__file__).parents[2] / 'configs' / 'toy'


def config_of(name):
    return str(CONFIGS / f'{name}.py')


@pytest.fixture(scope='module')
def ask(tmp_path_factory):
    """Predicts with random weights of a toy model on an example."""
    folder = tmp_path_factory.mktemp('web')
    models, image = service.Models(), service.example_images(folder)[0]

    def find(task, name):
        weights = folder / f'{name}.pth'
        if not weights.exists():
            torch.manual_seed(0)
            torch.save(
                dict(state_dict=build_bare(bare_config(config_of(name))).state_dict()), weights
            )
        return models.find(task, config_of(name), str(weights), image)

    return find


def test_objects_are_drawn_from_a_score_on_and_by_class(ask):
    found = ask('instances', 'det_mambaout_retinanet')
    total = len(found.record['instances'])
    everything, count = found.draw_objects(0.0, [])
    assert count == total > 0
    nothing, none = found.draw_objects(1.0, [])
    assert none == 0 and not np.array_equal(everything, nothing)
    one = found.names[0]
    assert found.draw_objects(0.0, [one])[1] == sum(
        item['name'] == one for item in found.record['instances']
    )


def test_the_class_of_a_place_is_that_of_its_pixel(ask):
    found = ask('regions', 'seg_mambaout')
    labels = found.sample.pred_sem_seg.data[0]
    # Images of 160 x 200 are drawn three times as large.
    assert found.class_at(3 * 50 + 1, 3 * 20 + 2) == found.classes[int(labels[20, 50])]
    assert found.class_at(3 * 200 + 5, 10) == '', 'on the legend'
    flat = found.draw_classes_of_pixels(1.0)
    assert not np.array_equal(flat, found.draw_classes_of_pixels(0.2))


def test_a_model_of_another_task_is_refused(ask):
    with pytest.raises(UserError, match='a model of another task: choose a detector'):
        ask('instances', 'seg_mambaout')


def test_results_are_saved(ask, tmp_path):
    found = ask('regions', 'seg_mambaout')
    downloads = service.Downloads(tmp_path)
    picture, record = downloads.save(found.draw_classes_of_pixels(0.5), found.record)
    assert cv2.imread(picture).shape[0] == 480
    assert '"regions"' in Path(record).read_text()


def test_only_the_last_results_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(service, 'KEPT_RESULTS', 2)
    downloads, picture = service.Downloads(tmp_path), np.zeros((4, 4, 3), np.uint8)
    files = [Path(downloads.save(picture, {})[0]) for _ in range(4)]
    assert [file.exists() for file in files] == [False, False, True, True]
    assert len(list(tmp_path.iterdir())) == 2


def test_an_upload_that_is_no_longer_kept_is_asked_for_again(tmp_path):
    with pytest.raises(UserError, match='choose the image again'):
        service.read_upload(str(tmp_path / 'gone.png'))


def test_the_inside_of_a_model_without_weights(tmp_path, monkeypatch):
    monkeypatch.setenv('MMVMAMBA_SCAN_BACKEND', 'torch')
    image = service.example_images(tmp_path)[0]
    picture = service.Models().inside('scan', config_of('cls_vim'), '', image)
    assert picture.std() > 5


def test_only_the_last_models_are_kept(monkeypatch):
    built = []
    monkeypatch.setattr(service, 'get_predictor', lambda *args, **_: built.append(args[0]) or args)
    models = service.Models()
    for name in ('a', 'b', 'a', 'c', 'a', 'b'):
        models._predictor(name, '')
    assert built == ['a', 'b', 'c', 'b']


@pytest.mark.parametrize(
    ('size', 'message'),
    [(None, 'choose an image first'), (0, 'no image that can be read'), (5200, '25 million')],
)
def test_uploads_have_limits(size, message, tmp_path):
    path = None
    if size is not None:
        path = str(tmp_path / 'image.png')
        Path(path).write_bytes(b'nothing')
    if size:
        cv2.imwrite(path, np.zeros((size, size), np.uint8))
    with pytest.raises(UserError, match=message):
        service.read_upload(path)


def test_a_large_file_is_not_opened(tmp_path):
    path = tmp_path / 'image.png'
    with path.open('wb') as file:
        file.truncate(service.MAX_BYTES + 1)
    with pytest.raises(UserError, match='20 MiB; 20 are allowed'):
        service.read_upload(str(path))
