"""The web page in a real browser without a window, as the tests of its parts use it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
# Seconds; a page that starts beside other work takes its time.
LIMIT = 180
# Control and A mark all of a field; the next key lets go of Control.
MARK_ALL, ENTER = '\ue009a\ue000', '\ue007'


def until(condition, what=''):
    """Waits for something, and gives it."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f'{what or condition} did not happen')


@contextmanager
def serve(*arguments, **environment):
    """The address of a page that ``mmvmamba web`` serves."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    command = [sys.executable, '-m', 'mmvmamba', 'web', '--port', str(port), *arguments]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **environment}
    with subprocess.Popen(command, env=environment) as process:
        until(lambda: _answers(port) or process.poll() is not None, 'the page')
        assert process.poll() is None
        try:
            yield f'http://127.0.0.1:{port}'
        finally:
            process.terminate()


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0


@contextmanager
def open_browser():
    """A Chromium without a window; skips where there is none."""
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
    window = selenium.Chrome(options, selenium.ChromeService(driver))
    try:
        yield window
    finally:
        window.quit()


class Page:
    """The page in a browser.

    Args:
        browser: Of Selenium.
        address: Of the page.
    """

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def open(self, tab, image=None, model=None, weights=None):
        """Opens the page anew, uploads an image, chooses a model and turns to a tab."""
        self.browser.get(self.address)
        # A file field is there before the page listens to it.
        self.tabs()
        if image is not None:
            self.find('#upload input[type=file]').send_keys(str(image))
            until(
                lambda: self.all('#upload img') or self.all('#upload button[aria-label="Clear"]'),
                'the upload',
            )
        if model is not None:
            self.type('#model input', model)
            self.type('#weights textarea, #weights input', weights)
        self.press('button[role=tab]', tab)

    def tabs(self):
        until(lambda: self.all('button[role=tab]'), 'the tabs')

    def all(self, selector):
        return self.browser.find_elements('css selector', selector)

    def find(self, selector):
        return until(lambda: self.all(selector), selector)[0]

    def type(self, selector, text):
        self.find(selector).send_keys(MARK_ALL, str(text), ENTER)

    def press(self, selector, text=None):
        """Clicks on the first such element with a text, though it may be replaced meanwhile."""
        from selenium.common import ElementClickInterceptedException, StaleElementReferenceException

        def pressed():
            try:
                found = [x for x in self.all(selector) if text in (None, x.text.strip())]
                if found:
                    found[0].click()
            except (ElementClickInterceptedException, StaleElementReferenceException):
                return False
            return bool(found)

        until(pressed, f'a click on {text or selector}')

    def choose(self, name, option):
        """Takes one of the options that a list offers."""
        self.press(f'#{name} input')
        self.press(f'#{name} [role=option]', option)

    def click(self, name):
        self.browser.execute_script('arguments[0].click()', self.find(f'button#{name}'))

    def read(self, selector, value):
        """A property of all such elements, read at one time: the page may replace them."""
        code = f'return [...document.querySelectorAll(`{selector}`)].map(item => item.{value})'
        return self.browser.execute_script(code)

    def text(self, name):
        return ''.join(self.read(f'#{name}', 'innerText'))

    def picture(self, name):
        """The size of the result's picture, once there is one."""
        code = f"""
            const picture = document.querySelector('#{name}_result img')
            return picture?.naturalWidth ? [picture.naturalWidth, picture.naturalHeight] : null"""
        return tuple(until(lambda: self.browser.execute_script(code), 'the picture'))

    def downloads(self, name):
        """What can be downloaded beside a result: a picture, blue first, and a record if any."""
        addresses = until(lambda: set(self.read(f'#{name}_files a', 'href')), 'the files')
        found = {}
        for address in addresses:
            with urllib.request.urlopen(address) as answer:
                found[address.rpartition('.')[2]] = answer.read()
        picture = cv2.imdecode(np.frombuffer(found.pop('png'), np.uint8), cv2.IMREAD_COLOR)
        return picture, json.loads(found['json']) if found else None

    def message(self):
        """The text of the message that the page shows."""
        return until(lambda: ''.join(self.read('.toast-body', 'innerText')), 'a message')
