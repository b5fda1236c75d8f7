"""Where a checkpoint can come from besides a path."""

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
