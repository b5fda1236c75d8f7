"""Where a checkpoint can come from besides a path."""

import functools
import http.server
import threading

import pytest
import torch

from mmvmamba import get_model
from mmvmamba.checkpoint import CheckpointError, locate, read_checkpoint, sources
from tests.official_files import golden, model_of, state_of, write_hub_folder

COMMIT = '0123456789abcdef0123456789abcdef01234567'


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that puts files into the hub's local cache; the network is off."""
    constants = pytest.importorskip('huggingface_hub.constants')
    cache = tmp_path / 'hub'
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(cache))
    # Modules of old releases have copies of the name.
    for module in ('file_download', '_snapshot_download'):
        name = f'huggingface_hub.{module}.HF_HUB_CACHE'
        monkeypatch.setattr(name, str(cache), raising=False)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')

    def add(repo):
        folder = cache / f'models--{repo.replace("/", "--")}'
        snapshot = folder / 'snapshots' / COMMIT
        snapshot.mkdir(parents=True)
        (folder / 'refs').mkdir()
        (folder / 'refs' / 'main').write_text(COMMIT)
        return snapshot

    return add


def test_hub_folder_comes_from_the_local_cache(hub):
    case = golden('mambavision', 'small_a_64x64')
    write_hub_folder(hub('nvidia/Some-Model'), state_of(case))
    name, overrides = model_of(case)
    model = get_model(name, pretrained='hf://nvidia/Some-Model', **overrides)
    with torch.no_grad():
        case.check('logits', model(case.input().float()))


def test_hub_file_comes_from_the_local_cache(hub):
    torch.save({'a': torch.ones(2)}, hub('owner/name') / 'weights.pth')
    assert torch.equal(read_checkpoint(locate('hf://owner/name/weights.pth'))['a'], torch.ones(2))
    with pytest.raises(CheckpointError, match=r'hf://owner/name/FILE\.pth'):
        locate('hf://owner/name')


@pytest.mark.parametrize('name', ['hf://owner/absent', 'hf://owner/absent/weights.pth'])
def test_what_is_not_in_the_cache_is_reported(name, hub):
    hub('owner/name')
    with pytest.raises(FileNotFoundError, match=f'{name} is neither in the local cache'):
        locate(name)


def test_bad_hub_name_is_reported():
    with pytest.raises(ValueError, match=r"hf://owner/name/file, got 'hf://owner'"):
        locate('hf://owner')


def test_web_files_of_one_name_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    fetched = []

    def download(url, path, progress):
        fetched.append(url)
        torch.save({'url': torch.tensor(len(fetched))}, path)

    monkeypatch.setattr(sources.torch.hub, 'download_url_to_file', download)
    first, second = 'https://host.test/a/l1_1x.pth', 'https://host.test/b/l1_1x.pth?download=true'
    paths = [locate(first), locate(second), locate(first)]
    assert fetched == [first, second]
    assert paths[0] == paths[2] != paths[1]
    assert [path.name for path in paths] == ['l1_1x.pth'] * 3


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that downloads are kept in."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'checkpoints' / 'mmvmamba'


@pytest.fixture
def site(tmp_path):
    """A folder and the address under which a server of this machine offers it."""
    (tmp_path / 'site').mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / 'site'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / 'site', f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def files_in(folder):
    return [path for path in folder.rglob('*') if path.is_file()]


@pytest.mark.parametrize('zipped', [True, False])
def test_download_is_kept_and_read(zipped, site, cache):
    folder, address = site
    torch.save({'a': torch.ones(3)}, folder / 'a.pth', _use_new_zipfile_serialization=zipped)
    path = locate(f'{address}/a.pth')
    assert files_in(cache) == [path]
    assert read_checkpoint(path)['a'].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('zip', None, r'did not give a whole checkpoint.*damaged'),
        ('legacy', None, r'did not give a whole checkpoint.*bytes of storages are declared'),
        ('page', b'<!doctype html>', 'did not give a whole checkpoint.*HTML page'),
        ('empty', b'', 'did not give a whole checkpoint.*empty'),
        ('hash-0123abcd', None, 'did not give a whole checkpoint.*its name says 0123abcd'),
    ],
)
def test_half_a_download_is_not_kept(name, content, message, site, cache):
    folder, address = site
    if content is None:
        torch.save(
            {'a': torch.randn(999)}, folder / 'a', _use_new_zipfile_serialization=name != 'legacy'
        )
        content = (folder / 'a').read_bytes()[: None if name.startswith('hash') else -40]
    (folder / f'{name}.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=rf'{name}\.pth {message}.*--weights FILE'):
        locate(f'{address}/{name}.pth')
    assert files_in(cache) == []


def test_download_that_is_not_read_safely_is_kept(site, cache):
    folder, address = site
    torch.save({'a': torch.nn.Linear(1, 1)}, folder / 'a.pth')
    path = locate(f'{address}/a.pth')
    with pytest.raises(CheckpointError, match=r'linear\.Linear.*--allow-pickle'):
        read_checkpoint(path)
    assert isinstance(read_checkpoint(path, allow_pickle=True)['a'], torch.nn.Linear)


def test_no_network_is_one_sentence_with_the_way_out(cache):
    # Nothing listens on this port.
    url = 'http://127.0.0.1:9/x/l1_1x.pth'
    with pytest.raises(CheckpointError) as error:
        locate(url)
    message = str(error.value)
    assert message.startswith(f'{url} could not be downloaded (')
    assert f'download {url} by other means' in message
    assert '--weights FILE' in message
    assert str(cache / '127.0.0.1:9' / 'x' / 'l1_1x.pth') in message
    assert files_in(cache) == []


def test_missing_file_of_a_site_is_one_sentence(site, cache):
    with pytest.raises(CheckpointError, match=r'absent\.pth could not be downloaded \(File not'):
        locate(f'{site[1]}/absent.pth')


def test_cache_that_cannot_be_written_is_one_sentence(site, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'file'))
    torch.save({'a': torch.ones(3)}, site[0] / 'a.pth')
    with pytest.raises(CheckpointError, match=r'Not a directory.*set TORCH_HOME.*--weights'):
        locate(f'{site[1]}/a.pth')
