"""Writes pickles and checkpoint files as no honest program does, opcode by opcode."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import torch

__all__ = [
    'MARK',
    'build',
    'call',
    'dict_of',
    'encode_raw',
    'get',
    'glob',
    'legacy_file',
    'list_of',
    'make',
    'put',
    'storage',
    'tensor',
    'tuple_of',
    'value',
    'zip_file',
]

MARK = pickle.MARK
LEGACY_TAIL = struct.pack('<q', 4) + bytes(16)
SYSTEM = dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))


def glob(name: str) -> bytes:
    """The opcodes that put the object of a full name, such as 'os.system', on the stack."""
    module, _, name = name.rpartition('.')
    return pickle.GLOBAL + f'{module}\n{name}\n'.encode()


def value(plain: object) -> bytes:
    """The opcodes of plain data: numbers, texts, and tuples, lists and dicts of them."""
    if isinstance(plain, tuple):
        return tuple_of(*map(value, plain))
    if isinstance(plain, list):
        return list_of(*map(value, plain))
    if isinstance(plain, dict):
        return dict_of(*((value(key), value(item)) for key, item in plain.items()))
    if isinstance(plain, bytes):
        return encode_raw(plain)
    if isinstance(plain, str):
        data = plain.encode('utf-8', 'surrogatepass')
        return pickle.BINUNICODE + struct.pack('<I', len(data)) + data
    return pickle.dumps(plain, protocol=2)[2:-1]


def encode_raw(data: bytes) -> bytes:
    """Bytes as protocol 2 has them: a text that ``_codecs.encode`` turns into bytes."""
    return call('_codecs.encode', value(data.decode('latin1')), value('latin1'))


def tuple_of(*items: bytes) -> bytes:
    return MARK + b''.join(items) + pickle.TUPLE


def list_of(*items: bytes) -> bytes:
    return pickle.EMPTY_LIST + MARK + b''.join(items) + pickle.APPENDS


def dict_of(*pairs: tuple[bytes, bytes]) -> bytes:
    items = b''.join(key + item for key, item in pairs)
    return pickle.EMPTY_DICT + MARK + items + pickle.SETITEMS


def call(name: str, *args: bytes) -> bytes:
    return glob(name) + tuple_of(*args) + pickle.REDUCE


def make(name: str, *args: bytes) -> bytes:
    return glob(name) + tuple_of(*args) + pickle.NEWOBJ


def build(made: bytes, state: bytes) -> bytes:
    return made + state + pickle.BUILD


def put(index: int) -> bytes:
    return pickle.LONG_BINPUT + struct.pack('<I', index)


def get(index: int) -> bytes:
    return pickle.LONG_BINGET + struct.pack('<I', index)


def storage(
    numel: object = 4, key: object = '0', kind: str = 'torch.FloatStorage', place: str = 'cpu'
) -> bytes:
    parts = (value('storage'), glob(kind), value(key), value(place), value(numel))
    return tuple_of(*parts) + pickle.BINPERSID


def tensor(
    size: tuple = (4,), stride: tuple = (1,), offset: object = 0, source: bytes = b''
) -> bytes:
    return call(
        'torch._utils._rebuild_tensor_v2',
        source or storage(),
        value(offset),
        value(size),
        value(stride),
        value(False),
        call('collections.OrderedDict'),
    )


def zip_file(
    path: Path, content: bytes, compression: int = zipfile.ZIP_STORED, **records: bytes
) -> Path:
    """Writes a file of torch's zip format.

    Args:
        path: The file.
        content: The opcodes of what it holds.
        compression: How the records are packed.
        records: More records; ``_0`` is the storage of key 0, four floats by default.
    """
    entries = {'data.pkl': _pickle(content), 'byteorder': b'little', 'version': b'3\n'}
    entries |= {f'data/{key[1:]}': data for key, data in ({'_0': bytes(16)} | records).items()}
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in entries.items():
            archive.writestr(f'weights/{name}', data)
    return path


def legacy_file(
    path: Path, content: bytes, keys: tuple = ('0',), tail: bytes = LEGACY_TAIL
) -> Path:
    """Writes a file of the format that torch had before 1.6, with one storage of four floats."""
    out = io.BytesIO()
    for head in (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, SYSTEM):
        pickle.dump(head, out, protocol=2)
    # The storage's id has one more part than in a zip: what it is a view of.
    out.write(_pickle(content))
    pickle.dump(list(keys), out, protocol=2)
    path.write_bytes(out.getvalue() + tail)
    return path


def _pickle(content: bytes) -> bytes:
    return pickle.PROTO + b'\2' + content + pickle.STOP
