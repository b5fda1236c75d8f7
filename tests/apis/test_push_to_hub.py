"""Uploading a model to a hub that runs here and speaks as much of its language as is needed."""

import base64
import functools
import http.server
import json
import threading

import pytest
import torch

import mmvmamba

pytest.importorskip('safetensors')
# Older ones ask the hub for more, or in other words.
pytest.importorskip('huggingface_hub', minversion='1.0')

from huggingface_hub import constants, errors

# Of the client that huggingface_hub sends with.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
IMAGES = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)


class FakeHub(http.server.BaseHTTPRequestHandler):
    """Weights come as a file of their own, all else within the commit, as on the real one."""

    def __init__(self, hub, *args):
        self.hub = hub
        super().__init__(*args)

    def do_PUT(self):
        self.hub['uploads'][self.path.rpartition('/')[2]] = self.body()
        self.answer({})

    def do_POST(self):
        body, path = self.body(), self.path.partition('?')[0]
        if path == '/api/validate-yaml':
            self.answer({})
        elif path == '/api/repos/create':
            self.answer(dict(url=f'{self.address()}/me/flowers'))
        elif path == '/api/models/me/flowers/preupload/main':
            names = [file['path'] for file in json.loads(body)['files']]
            modes = ['lfs' if name.endswith('.safetensors') else 'regular' for name in names]
            files = [
                dict(path=name, uploadMode=mode, shouldIgnore=False)
                for name, mode in zip(names, modes, strict=True)
            ]
            self.answer(dict(files=files))
        elif path == '/me/flowers.git/info/lfs/objects/batch':
            objects = json.loads(body)['objects']
            for item in objects:
                item['actions'] = dict(upload=dict(href=f'{self.address()}/put/{item["oid"]}'))
            self.answer(dict(transfer='basic', objects=objects))
        elif path == '/api/models/me/flowers/commit/main':
            self.hub['commit'] += [json.loads(line) for line in body.splitlines()]
            self.answer(dict(commitUrl=f'{self.address()}/me/flowers/commit/1', commitOid='1' * 40))
        else:
            self.send_error(404)

    def body(self):
        if self.headers.get('Transfer-Encoding') == 'chunked':
            parts = iter(lambda: self.rfile.read(int(self.rfile.readline(), 16) + 2)[:-2], b'')
            return b''.join(parts)
        return self.rfile.read(int(self.headers['Content-Length']))

    def address(self):
        return f'http://127.0.0.1:{self.server.server_address[1]}'

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def fake_hub(monkeypatch):
    hub = dict(uploads={}, commit=[])
    handler = functools.partial(FakeHub, hub)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_address[1]}'
        monkeypatch.setattr(constants, 'ENDPOINT', address)
        monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)
        yield hub
        server.shutdown()


@torch.no_grad()
def test_a_pushed_model_is_what_is_saved(fake_hub, tmp_path):
    model = mmvmamba.get_model('mambaout_test', num_classes=7)
    url = model.push_to_hub('me/flowers', commit_message='First', token='hf_token')
    assert str(url).endswith('/me/flowers/commit/1')
    header, *files = fake_hub['commit']
    assert header['value']['summary'] == 'First'
    pushed = tmp_path / 'pushed'
    pushed.mkdir()
    for item in files:
        value = item['value']
        if item['key'] == 'lfsFile':
            content = fake_hub['uploads'][value['oid']]
        else:
            content = base64.b64decode(value['content'])
        (pushed / value['path']).write_bytes(content)
    model.save_pretrained(tmp_path / 'saved')
    names = {path.name for path in (tmp_path / 'saved').iterdir()}
    assert {path.name for path in pushed.iterdir()} == names
    for name in names - {'README.md'}:
        assert (pushed / name).read_bytes() == (tmp_path / 'saved' / name).read_bytes()
    again = mmvmamba.PretrainedModel.from_pretrained(pushed)
    assert torch.equal(again(IMAGES), model(IMAGES))
    card = (pushed / 'README.md').read_text()
    assert 'license:' in card
    assert "PretrainedModel.from_pretrained('me/flowers')" in card


def test_a_hub_that_refuses_is_an_error(fake_hub, monkeypatch):
    monkeypatch.setattr(FakeHub, 'do_POST', lambda self: self.send_error(403, 'not yours'))
    with pytest.raises(errors.HfHubHTTPError, match='403'):
        mmvmamba.get_model('mambaout_test').push_to_hub('me/flowers', token='hf_token')
    assert not fake_hub['uploads']
