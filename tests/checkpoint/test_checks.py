"""What is checked of a checkpoint before it is read, and how a user passes over that."""

import collections
import hashlib
import json
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmvmamba.checkpoint import CheckpointError, read_checkpoint, save_published
from mmvmamba.checkpoint.errors import printable
from tests.checkpoint.hostile_files import OPCODES, TRACE
from tests.pickle_writer import dict_of, value, zip_file


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def find(path, tensor):
    return path.read_bytes().index(tensor.numpy().tobytes())


def test_one_changed_bit_is_found_by_the_checksum_of_its_record(tmp_path, monkeypatch):
    path, weight = tmp_path / 'weights.pth', torch.randn(100)
    torch.save({'a': weight}, path)
    flip(path, find(path, weight) + 50)
    with pytest.raises(CheckpointError, match=r"weights\.pth .* damaged.*CRC-32.*data/0'"):
        read_checkpoint(path)
    assert not torch.equal(read_checkpoint(path, checksums=False)['a'], weight)
    monkeypatch.setenv('MMVMAMBA_SKIP_CHECKSUMS', '1')
    assert read_checkpoint(path)['a'].shape == weight.shape


def test_a_record_that_says_it_is_a_folder_is_found(tmp_path):
    # torch reads no byte of it, and gives what was in the memory.
    path = tmp_path / 'weights.pth'
    torch.save({'a': torch.randn(100)}, path)
    data = bytearray(path.read_bytes())
    data[data.rindex(b'weights/data/0') - 8] = 0x10
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match='one of its records says that it is a folder'):
        read_checkpoint(path)


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors'])
def test_hash_in_the_name_is_that_of_the_content(kind, tmp_path):
    from safetensors.torch import save_file

    path, weight = tmp_path / 'weights', torch.randn(100)
    if kind == 'safetensors':
        save_file({'a': weight}, path)
    else:
        torch.save({'a': weight}, path, _use_new_zipfile_serialization=kind == 'zip')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    suffix = '.safetensors' if kind == 'safetensors' else '.pth'
    path = path.rename(tmp_path / f'weights-{digest[:8]}{suffix}')
    assert torch.equal(read_checkpoint(path)['a'], weight)
    flip(path, find(path, weight) + 50)
    with pytest.raises(CheckpointError, match=rf'its name says {digest[:8]}.*SKIP_CHECKSUMS=1'):
        read_checkpoint(path)
    assert read_checkpoint(path, checksums=False)['a'].shape == weight.shape


def test_published_file_is_checked_by_its_name(tmp_path):
    path = save_published({'a': torch.ones(3)}, {}, tmp_path / 'l1.pth')
    assert read_checkpoint(path)['state_dict']['a'].tolist() == [1.0] * 3
    other = save_published({'a': torch.zeros(3)}, {}, tmp_path / 'l1.pth')
    path.write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError, match='was changed after it got its name'):
        read_checkpoint(path)


@pytest.mark.parametrize('name', ['run-20231015.pth', 'epoch-12.pth', 'a-facade.pth', 'x-0000.pth'])
def test_dates_and_short_numbers_in_names_are_no_hashes(name, tmp_path):
    torch.save({'a': torch.ones(2)}, tmp_path / name)
    assert torch.equal(read_checkpoint(tmp_path / name)['a'], torch.ones(2))


def test_records_that_unpack_to_far_more_than_the_file_are_refused(tmp_path, monkeypatch):
    path = zip_file(tmp_path / 'a.pth', value({'a': 1}), zipfile.ZIP_DEFLATED, _0=bytes(80 << 20))
    with pytest.raises(CheckpointError, match=r'a\.pth .*unpack to 83,886.*MMVMAMBA_ALLOW_HUGE=1'):
        read_checkpoint(path)
    assert read_checkpoint(path, bounds=False) == {'a': 1}
    monkeypatch.setenv('MMVMAMBA_ALLOW_HUGE', '1')
    assert read_checkpoint(path) == {'a': 1}


def test_packed_file_of_honest_size_is_read(tmp_path):
    torch.save({'a': torch.arange(1000)}, tmp_path / 'a.pth')
    with (
        zipfile.ZipFile(tmp_path / 'a.pth') as old,
        zipfile.ZipFile(tmp_path / 'b.pth', 'w', zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert read_checkpoint(tmp_path / 'b.pth')['a'].tolist() == list(range(1000))


def test_expanded_tensor_is_refused_if_it_is_huge(tmp_path):
    torch.save({'a': torch.zeros(1).expand(1000, 1000)}, tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['a'].shape == (1000, 1000)
    torch.save({'a': torch.zeros(1, 64).expand(1 << 24, 64)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'tensors of 4,294,967,296 bytes.*\(16777216, 64\)'):
        read_checkpoint(tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth', bounds=False)['a'].stride() == (0, 1)


@pytest.mark.parametrize('zipped', [True, False])
def test_honest_content_of_every_kind_is_read(zipped, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    shared = torch.arange(12.0).view(3, 4)
    # torch itself does not read the older format's 16-bit unsigned integers.
    kinds = (torch.half, torch.bfloat16, torch.bool, torch.int8, torch.cfloat, torch.uint16)
    content = dict(
        state_dict=model.state_dict(),
        optimizer=optimizer.state_dict(),
        schedulers=[dict(milestones=collections.Counter([2, 2, 5]), gammas=(0.1, None))],
        views=[shared, shared.t(), shared[1:], shared[:, 1], torch.empty(0, 3), torch.tensor(1.5)],
        kinds=[torch.zeros(2, dtype=kind) for kind in kinds[: 6 if zipped else 5]],
        parameter=torch.nn.Parameter(torch.ones(2)),
        plain=[True, None, -1, 2**40, 2**70, 1.5, 'é', b'bytes', b'', (1, (2, 3)), {1, 2}, 1 + 2j],
        types=[torch.float32, torch.Size([2, 3]), torch.device('cpu')],
        history=HistoryBuffer(),
        numbers=[np.float32(1), np.arange(3), np.zeros(0)],
    )
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path / 'a.pth')
    assert list(read) == list(content)
    assert read['plain'] == content['plain']
    assert read['types'] == content['types']
    assert read['schedulers'] == content['schedulers']
    assert all(map(torch.equal, read['views'], content['views']))
    assert [one.dtype for one in read['kinds']] == [one.dtype for one in content['kinds']]
    assert read['state_dict']._metadata == content['state_dict']._metadata
    assert read['optimizer']['state'].keys() == content['optimizer']['state'].keys()


@pytest.mark.parametrize('name', ['posix.system', 'array of pointers', 'tensor of stride 0'])
@pytest.mark.parametrize('load', ['get_model', 'mmengine'])
def test_every_way_to_load_refuses_hostile_files(load, name, tmp_path, monkeypatch):
    from mmengine.runner.checkpoint import load_checkpoint

    from mmvmamba import get_model

    monkeypatch.chdir(tmp_path)
    path = zip_file(tmp_path / 'a.pth', dict_of((value('state_dict'), OPCODES[name])))
    with pytest.raises(CheckpointError, match=r'a\.pth .*(not read safely|more than a checkpoint)'):
        if load == 'get_model':
            get_model('mambaout_femto', pretrained=path)
        else:
            load_checkpoint(torch.nn.Linear(1, 1), str(path))
    assert not (tmp_path / TRACE).exists()


@pytest.mark.parametrize('key', ['a\nb', 'a\0b', 'a\x1b[2J', 'a' * 2000], ids=repr)
def test_names_that_would_break_a_message_are_spelled_out(key, tmp_path):
    torch.save({key: torch.ones(1)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth .*it has the key') as error:
        read_checkpoint(tmp_path / 'a.pth')
    assert str(error.value).isprintable()
    assert str(CheckpointError('a\nb\0\ud800é')) == 'a\\nb\\x00\\ud800é'
    assert len(printable('a' * 10**6)) < 5000


def write_folder(folder, weight_map, **parts):
    from safetensors.torch import save_file

    for name, tensors in parts.items():
        save_file(tensors, folder / f'{name}.safetensors')
    index = folder / 'model.safetensors.index.json'
    index.write_text(weight_map if isinstance(weight_map, str) else json.dumps(weight_map))
    return folder


def test_parts_of_a_folder_are_read(tmp_path):
    places = {'a': 'one.safetensors', 'b': 'two.safetensors'}
    one, two = {'a': torch.ones(1)}, {'b': torch.zeros(2)}
    read = read_checkpoint(write_folder(tmp_path, {'weight_map': places}, one=one, two=two))
    assert {key: tensor.tolist() for key, tensor in read.items()} == {'a': [1.0], 'b': [0.0, 0.0]}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'weight_map': {'a': '../one.safetensors'}}, r"'\.\./one\.safetensors', which is no name"),
        ({'weight_map': {'a': '/etc/one.safetensors'}}, "'/etc/one.safetensors', which is no name"),
        ({'weight_map': {'a': 'one\0.safetensors'}}, 'which are not in the folder'),
        ({'weight_map': {'a': 'two.safetensors'}}, r"\['two\.safetensors'\], which are not"),
        ({'weight_map': {'a': 'weights.pth'}}, "'weights.pth', which is no name"),
        ({'weight_map': {'b': 'one.safetensors'}}, "holds 'b', which it does not"),
        ({'weight_map': {'a': 1}}, 'no "weight_map" from keys to file names'),
        ({'weight_map': []}, 'no "weight_map"'),
        ([], 'no "weight_map"'),
        ('{"weight_map": ', 'no "weight_map"'),
        ('[' * 100_000, 'no "weight_map"'),
        ('\udcff'.encode('utf-8', 'surrogateescape').decode('latin1'), 'no "weight_map"'),
    ],
)
def test_index_that_lies_is_refused(content, message, tmp_path):
    (tmp_path / 'folder').mkdir()
    write_folder(tmp_path, '{}', one={'a': torch.ones(1)})
    folder = write_folder(tmp_path / 'folder', content, one={'a': torch.ones(1)})
    with pytest.raises(CheckpointError, match=rf'index\.json .*{message}'):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    'header',
    [
        {'a': {'dtype': 'F32', 'shape': [1 << 40], 'data_offsets': [0, 16]}},
        {'a': {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 1 << 40]}},
        {'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}},
        {'a': {'dtype': 'F32', 'shape': [-4], 'data_offsets': [0, 16]}},
        {'a': {'dtype': 'O', 'shape': [4], 'data_offsets': [0, 16]}},
        {
            'a': {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]},
            'b': {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]},
        },
        {'a\nb': {'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}},
    ],
    ids=['shape', 'end', 'gap', 'negative', 'type', 'overlap', 'name'],
)
def test_safetensors_header_that_lies_is_refused(header, tmp_path):
    text = json.dumps(header).encode()
    path = tmp_path / 'a.safetensors'
    path.write_bytes(len(text).to_bytes(8, 'little') + text + bytes(16))
    with pytest.raises(CheckpointError, match=r'a\.safetensors .*damaged'):
        read_checkpoint(path)


def test_safetensors_header_longer_than_the_file_is_refused(tmp_path):
    path = tmp_path / 'a.safetensors'
    path.write_bytes((1 << 62).to_bytes(8, 'little') + b'{}')
    with pytest.raises(CheckpointError, match=r'a\.safetensors .*damaged'):
        read_checkpoint(path)
