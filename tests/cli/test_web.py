"""The web page as people use it, in a real browser without a window."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmvmamba.apis.bare_models import bare_config, build_bare
from mmvmamba.cli.main import main

CONFIGS = Path(__file__).parents[2] / 'configs' / 'toy'
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
LIMIT = 90
SIZE = """
    const picture = document.querySelector('#detect_result img')
    return picture.naturalWidth ? [picture.naturalWidth, picture.naturalHeight] : null"""


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Random weights of three toy models, by task."""
    folder, files = tmp_path_factory.mktemp('weights'), {}
    for task, name in (('cls', 'mambaout'), ('det', 'mambaout_maskrcnn'), ('seg', 'mambaout')):
        torch.manual_seed(0)
        model = build_bare(bare_config(str(CONFIGS / f'{task}_{name}.py')))
        files[task] = folder / f'{task}.pth'
        torch.save(dict(state_dict=model.state_dict()), files[task])
    return files


@pytest.fixture(scope='module')
def page(weights):
    """The address of the page, with a detector."""
    pytest.importorskip('gradio', reason='the extra [web] is not installed')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    command = [sys.executable, '-m', 'mmvmamba', 'web', '--port', str(port)]
    command += ['--model', str(CONFIGS / 'det_mambaout_maskrcnn.py')]
    with subprocess.Popen(
        [*command, '--weights', str(weights['det'])], env={**os.environ, 'OMP_NUM_THREADS': '1'}
    ) as process:
        _until(lambda: _answers(port) or process.poll() is not None)
        assert process.poll() is None
        yield f'http://127.0.0.1:{port}'
        process.terminate()


@pytest.fixture(scope='module')
def browser(page):
    selenium = pytest.importorskip('selenium.webdriver', reason='Selenium is not installed')
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which('chromedriver')
    if not (binary and driver):
        pytest.skip(f'none of {BROWSERS} with chromedriver is installed')
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for argument in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage'):
        options.add_argument(argument)
    options.add_argument('--window-size=1200,1500')
    service = selenium.ChromeService(driver)
    window = selenium.Chrome(options, service)
    yield window
    window.quit()


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0


def _until(condition, what=''):
    """Waits for something, and gives it."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f'{what or condition} did not happen')


def _find(browser, selector):
    return _until(lambda: browser.find_elements('css selector', selector), selector)[0]


def _open(browser, page, tab, image):
    browser.get(page)
    _find(browser, '#upload input[type=file]').send_keys(str(image))
    _until(
        lambda: browser.find_elements('css selector', '#upload img')
        or browser.find_elements('css selector', '#upload button[aria-label="Clear"]'),
        'upload',
    )
    _tab(browser, tab)


def _tab(browser, name):
    def tabs():
        found = browser.find_elements('css selector', 'button[role=tab]')
        return [tab for tab in found if tab.text == name]

    _until(tabs, name)[0].click()


def _click(browser, name):
    browser.execute_script('arguments[0].click()', _find(browser, f'button#{name}'))


def _count(browser):
    """Drawn and found objects, once they are there."""
    return _until(
        lambda: re.match(r'(\d+) of (\d+) objects', _find(browser, '#count').text), 'the count'
    ).groups()


def _message(browser):
    return _until(
        lambda: ''.join(x.text for x in browser.find_elements('css selector', '.toast-body')),
        'a message',
    )


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp('images') / 'scene.png'
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    cv2.imwrite(str(path), cv2.GaussianBlur(noise, (9, 9), 0))
    return path


@pytest.mark.slow
def test_detection_and_its_threshold(browser, page, image, tmp_path):
    _open(browser, page, 'Detect', image)
    _click(browser, 'detect')
    drawn, found = _count(browser)
    assert int(found) > 0 and int(drawn) <= int(found)
    _until(lambda: browser.find_elements('css selector', '#detect_result img'))
    slider = _find(browser, '#threshold input[type=number]')
    # Control and A marks all of it; the next key lets go of Control.
    slider.send_keys('\ue009a\ue000', '0', '\ue007')
    _until(lambda: _count(browser) == (found, found), 'all objects')
    slider.send_keys('\ue009a\ue000', '1', '\ue007')
    _until(lambda: _count(browser) == ('0', found), 'no object')
    names = browser.find_elements('css selector', '#detect_files a')
    assert any('result.json' in (x.get_attribute('href') or '') for x in names)
    folder = Path(os.environ.get('MMVMAMBA_SCREENSHOTS', tmp_path))
    assert browser.save_screenshot(str(folder / 'web.png'))
    assert cv2.imread(str(folder / 'web.png')).std() > 10


@pytest.mark.slow
def test_what_is_wrong_is_a_message(browser, page, tmp_path):
    bad = tmp_path / 'bad.png'
    bad.write_text('no image')
    huge = tmp_path / 'huge.png'
    cv2.imwrite(str(huge), np.zeros((5200, 5200, 3), np.uint8))
    for path, message in ((bad, 'is no image that can be read'), (huge, '25 million are allowed')):
        _open(browser, page, 'Detect', path)
        _click(browser, 'detect')
        assert message in _message(browser)
        assert 'Traceback' not in browser.page_source
    _open(browser, page, 'Classify', huge)
    browser.get(page)
    _click(browser, 'classify')
    assert 'choose an image first' in _message(browser)


@pytest.mark.slow
def test_two_users_do_not_meet(browser, page, image, tmp_path):
    black = tmp_path / 'black.png'
    cv2.imwrite(str(black), np.zeros((64, 64, 3), np.uint8))
    first = browser.current_window_handle
    _open(browser, page, 'Detect', image)
    _click(browser, 'detect')
    browser.switch_to.new_window('window')
    _open(browser, page, 'Detect', black)
    _click(browser, 'detect')
    sizes = []
    for handle in (browser.current_window_handle, first):
        browser.switch_to.window(handle)
        _count(browser)
        _find(browser, '#detect_result img')
        sizes.append(tuple(_until(lambda: browser.execute_script(SIZE))))
    assert sizes == [(448, 448), (600, 450)]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', 'no_such_model'], 'there is no model'),
        (['--port', '99999'], '127.0.0.1:99999 cannot be used'),
        (['--device', 'abacus'], '--device abacus is none'),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, message, capsys):
    pytest.importorskip('gradio', reason='the extra [web] is not installed')
    with pytest.raises(SystemExit, match='2'):
        main(['web', *arguments])
    assert message in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys):
    pytest.importorskip('gradio', reason='the extra [web] is not installed')
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match='2'):
            main(['web', '--port', str(port)])
    assert f'127.0.0.1:{port} cannot be used' in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(SystemExit, match='2'):
        main(['web'])
    assert 'pip install "mmvmamba[web]"' in capsys.readouterr().err
