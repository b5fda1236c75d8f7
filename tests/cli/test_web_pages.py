"""The web page as people use it, in a real browser without a window."""

import cv2
import numpy as np
import pytest
import torch

from mmvmamba.apis.bare_models import bare_config, build_bare
from tests.cli.web_browser import Page, open_browser, serve, until
from tests.tools.conftest import ROOT

pytestmark = pytest.mark.slow
CONFIGS = {
    task: str(ROOT / 'configs' / 'toy' / f'{task}_{name}.py')
    for task, name in (('cls', 'mambaout'), ('det', 'mambaout_maskrcnn'), ('seg', 'mambaout'))
}
TABS = {'Classify': 'classify', 'Detect': 'detect', 'Segment': 'segment', 'Inside': 'look'}


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Random weights of three toy models, by task."""
    folder, files = tmp_path_factory.mktemp('weights'), {}
    for task, config in CONFIGS.items():
        torch.manual_seed(0)
        files[task] = folder / f'{task}.pth'
        torch.save(dict(state_dict=build_bare(bare_config(config)).state_dict()), files[task])
    return files


@pytest.fixture(scope='module')
def browser():
    pytest.importorskip('gradio', reason='the extra [web] is not installed')
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope='module')
def page(browser, weights):
    """The page, with a detector at first."""
    with serve('--model', CONFIGS['det'], '--weights', str(weights['det'])) as address:
        yield Page(browser, address)


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp('images') / 'scene.png'
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    cv2.imwrite(str(path), cv2.GaussianBlur(noise, (9, 9), 0))
    return path


def test_classification(page, image, weights):
    page.open('Classify', image, CONFIGS['cls'], weights['cls'])
    page.click('classify')
    picture, record = page.downloads('classify')
    best = [item['name'] for item in record['classes']]
    assert len(best) == 5
    until(lambda: all(name in page.text('classes') for name in best), 'the classes')
    # Five times as large, with a bar of 26 pixels for each class.
    assert picture.shape[:2] == (5 * 90 + 5 * 26 + 6, 5 * 120)


def counts(page):
    """Numbers of the objects that are drawn and that are found, once they are there."""
    return until(lambda: [int(word) for word in page.text('count').split() if word.isdigit()])


def test_detection_its_threshold_and_its_classes(page, image):
    page.open('Detect', image)
    page.click('detect')
    drawn, found = counts(page)
    assert 0 <= drawn <= found > 0
    slider = '#threshold input[type=number]'
    page.type(slider, 0)
    until(lambda: counts(page) == [found, found], 'all objects')
    picture, record = page.downloads('detect')
    assert picture.shape[:2] == (450, 600) and len(record['instances']) == found
    name = record['instances'][0]['name']
    page.choose('filter', name)
    of_class = sum(item['name'] == name for item in record['instances'])
    until(lambda: counts(page) == [of_class, found], 'the objects of one class')
    page.type(slider, 1)
    until(lambda: counts(page) == [0, found], 'no object')
    # What is set while the model looks is what is drawn then.
    page.click('detect')
    page.type(slider, 0)
    until(lambda: counts(page) == [found, found], 'all objects again')


def test_segmentation_its_opacity_and_the_class_of_a_place(page, image, weights):
    page.open('Segment', image, CONFIGS['seg'], weights['seg'])
    page.click('segment')
    width, height = page.picture('segment')
    picture, record = page.downloads('segment')
    assert picture.shape[:2] == (height, width) and height == 450 and width > 600
    page.type('#opacity input[type=number]', 1)
    until(lambda: not np.array_equal(page.downloads('segment')[0], picture), 'other colours')
    # The middle of the picture lies in the image.
    page.press('#segment_result img')
    names = [region['name'] for region in record['regions']]
    until(lambda: page.text('clicked') in names, 'the class of the place')


def test_the_inside(page, image):
    page.open('Inside', image)
    page.press('#kind label', 'receptive field')
    page.click('look')
    width, height = page.picture('look')
    picture, record = page.downloads('look')
    assert picture.shape[:2] == (height, width) and picture.std() > 10 and record is None


@pytest.mark.parametrize('tab', TABS)
def test_what_is_wrong_with_an_image_is_a_message(tab, page, tmp_path):
    bad = tmp_path / 'bad.png'
    bad.write_text('no image')
    huge = tmp_path / 'huge.png'
    cv2.imwrite(str(huge), np.zeros((5200, 5200, 3), np.uint8))
    for path, message in ((bad, 'is no image that can be read'), (huge, '25 million are allowed')):
        page.open(tab, path)
        page.click(TABS[tab])
        assert message in page.message()
        assert 'Traceback' not in page.browser.page_source
    page.open(tab)
    page.click(TABS[tab])
    assert 'choose an image first' in page.message()


def test_a_large_file_and_a_model_of_another_task_are_messages(page, image, tmp_path):
    page.open('Classify', image)
    page.click('classify')
    assert 'choose a classifier' in page.message()
    large = tmp_path / 'large.png'
    large.write_bytes(image.read_bytes() + bytes(21 * 2**20))
    page.browser.get(page.address)
    page.tabs()
    page.find('#upload input[type=file]').send_keys(str(large))
    assert '20' in page.message()


def test_two_users_do_not_meet(page, image, tmp_path):
    black = tmp_path / 'black.png'
    cv2.imwrite(str(black), np.zeros((64, 64, 3), np.uint8))
    windows = [page.browser.current_window_handle]
    page.open('Detect', image)
    page.click('detect')
    page.browser.switch_to.new_window('window')
    windows.append(page.browser.current_window_handle)
    page.open('Detect', black)
    page.click('detect')
    sizes = []
    for window in windows:
        page.browser.switch_to.window(window)
        sizes.append(page.picture('detect'))
    page.browser.close()
    page.browser.switch_to.window(windows[0])
    assert sizes == [(600, 450), (448, 448)]


def test_nothing_is_left_of_a_page_that_ended(tmp_path):
    pytest.importorskip('gradio', reason='the extra [web] is not installed')
    with serve('--model', CONFIGS['cls'], TMPDIR=str(tmp_path)):
        assert list(tmp_path.glob('mmvmamba_web_*/gradio/*/shapes_1.png'))
    assert not list(tmp_path.glob('mmvmamba_web_*'))
