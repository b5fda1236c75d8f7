"""What is not a checkpoint, or would run code, is refused with a message that names the file."""

import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmvmamba.checkpoint import CheckpointError, locate, read_checkpoint


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('zipped', [True, False])
def test_hostile_pickle_is_not_executed(zipped, tmp_path):
    path, trace = tmp_path / 'weights.pth', tmp_path / 'trace'
    content = {'state_dict': {'a': torch.zeros(2)}, 'extra': Hostile(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r'weights\.pth .*mkdir.*--allow-pickle') as error:
        read_checkpoint(path)
    assert 'Nothing in it was executed' in str(error.value)
    assert not trace.exists()
    read_checkpoint(path, allow_pickle=True)
    assert trace.exists()


def test_hostile_plain_pickle_is_not_executed(tmp_path):
    path, trace = tmp_path / 'weights.pth', tmp_path / 'trace'
    path.write_bytes(pickle.dumps({'state_dict': Hostile(trace)}))
    with pytest.raises(CheckpointError, match=r'weights\.pth'):
        read_checkpoint(path)
    assert not trace.exists()


def test_data_of_training_scripts_is_read(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(
        args=argparse.Namespace(lr=0.1, opt='lamb'),
        message_hub=dict(log_scalars={'train/loss': history}),
        model={'a': torch.ones(2)},
    )
    torch.save(content, tmp_path / 'weights.pth')
    read = read_checkpoint(tmp_path / 'weights.pth')
    assert read['args'].opt == 'lamb'
    assert read['message_hub']['log_scalars']['train/loss'].mean() == 1.5


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('kept', [20, 700, 0.5, 0.98])
def test_truncated_file_is_reported(kept, zipped, tmp_path):
    path = tmp_path / 'weights.pth'
    state = {f'layer{i}.weight': torch.randn(40, 40) for i in range(5)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(CheckpointError, match=r'weights\.pth \([\d,]+ bytes\) .*cut off'):
        read_checkpoint(path)


def test_truncated_safetensors_is_reported(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / 'model.safetensors'
    save_file({'a': torch.randn(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r'model\.safetensors .*cut off'):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'<!DOCTYPE html><html><body>Sign in</body></html>', 'HTML page'),
        (b'\n\n<html lang="en">', 'HTML page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'git lfs pull'),
        (b'', 'empty'),
        (b'not a checkpoint at all, just text', 'not a readable checkpoint: it is a text file'),
        ('é'.encode() * 300, 'a text file'),
        (b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', 'a PNG image, not a checkpoint'),
        (b'\xff\xd8\xff\xe0\0\x10JFIF', 'a JPEG image'),
        (b'\x1f\x8b\x08\0', 'compressed with gzip, not a checkpoint: unpack it first'),
        (b'a' + bytes(256) + b'ustar\x0000', 'a tar archive, not a checkpoint'),
        (b'\x7fELF\2\1', 'a program'),
        (bytes(range(256)), 'not a readable checkpoint'),
        (b'\x80\x04\x95', 'not a readable checkpoint'),
        (b'\x80\x02K\x01.', 'a pickle, but no checkpoint of torch'),
        (b'PK\x03\x04', 'not a readable checkpoint'),
    ],
)
def test_other_files_are_reported(content, message, tmp_path):
    path = tmp_path / 'weights.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_tensor_file_is_reported(tmp_path):
    torch.save(torch.zeros(3), tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match=r'weights\.pth holds a Tensor'):
        read_checkpoint(tmp_path / 'weights.pth')


def test_missing_file_and_folder_without_weights_are_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth'):
        locate(tmp_path / 'nothing.pth')
    (tmp_path / 'readme.md').write_text('')
    with pytest.raises(CheckpointError, match=r'without model\.safetensors .*readme\.md'):
        read_checkpoint(tmp_path)


# torch 2.15 says so, and the files are still read.
@pytest.mark.filterwarnings('ignore:`torch.jit.:FutureWarning')
def test_archive_without_a_checkpoint_is_reported(tmp_path):
    path = tmp_path / 'weights.pth'
    np.savez(path.with_suffix('.npz'), a=np.ones(2))
    path.with_suffix('.npz').rename(path)
    with pytest.raises(CheckpointError, match=r"a zip archive, but no checkpoint.*\['a\.npy'\]"):
        read_checkpoint(path)
    torch.jit.script(torch.nn.Linear(1, 1)).save(path)
    with pytest.raises(CheckpointError, match=r'a TorchScript archive.*`state_dict\(\)`'):
        read_checkpoint(path)


def test_a_device_that_is_not_there_is_not_called_damage(tmp_path):
    torch.save({'a': torch.zeros(3)}, tmp_path / 'weights.pth')
    with pytest.raises(
        CheckpointError, match=r'weights\.pth could not be read: .*nowhere'
    ) as error:
        read_checkpoint(tmp_path / 'weights.pth', map_location='nowhere')
    assert 'damaged' not in str(error.value)
