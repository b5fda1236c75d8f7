"""Checkpoint files that try to run code, to write or read memory, or to take all of it.

Each is written with the opcodes of a pickle, in the zip format of torch and in its older one, and
would make ``TRACE`` in the working directory if it ran what it names.
"""

import io
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.pickle_writer import (
    MARK,
    build,
    call,
    dict_of,
    get,
    glob,
    legacy_file,
    list_of,
    make,
    put,
    storage,
    tensor,
    tuple_of,
    value,
    zip_file,
)

__all__ = ['OPCODES', 'TRACE', 'WHOLE_FILES', 'write_all']

TRACE = 'was_executed'
RUN = f'open({TRACE!r}, "w").close()'
HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
MULTIARRAY = 'numpy.core.multiarray'
FLOAT64 = (3, '<', None, None, None, -1, -1, 0)


def dtype(code: object = 'f8', state: object = FLOAT64) -> bytes:
    return build(call('numpy.dtype', value(code), value(False), value(True)), value(state))


def array_state(data: bytes, shape: tuple = (1,), kind: bytes = b'') -> bytes:
    return tuple_of(value(1), value(shape), kind or dtype(), value(False), value(data))


def array(state: bytes, kind: bytes = b'', shape: tuple = (0,)) -> bytes:
    kind = kind or glob('numpy.ndarray')
    return build(call(f'{MULTIARRAY}._reconstruct', kind, value(shape), value(b'b')), state)


def statistic(owner: str, name: str) -> bytes:
    return call('builtins.getattr', glob(owner), value(name))


def history(**state: bytes) -> bytes:
    pairs = [(value(name), opcodes) for name, opcodes in state.items()]
    return build(make(HISTORY), dict_of(*pairs))


def namespace(state: bytes) -> bytes:
    return build(make('argparse.Namespace'), state)


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + value(0) + closing * depth


def doubled(times: int) -> bytes:
    """A pair of the same pair, of the same pair, and so on."""
    return value([1]) + b''.join(put(i) + get(i) + pickle.TUPLE2 for i in range(times))


def codec(text: bytes, name: str) -> bytes:
    return call('_codecs.encode', text, value(name))


def hex_of_hex(times: int) -> bytes:
    return (
        (glob('_codecs.encode') + MARK) * times
        + value(b'12345678')
        + (value('hex') + pickle.TUPLE + pickle.REDUCE) * times
    )


CALLS = {
    'posix.system': call('posix.system', value(f'touch {TRACE}')),
    'os.system': call('os.system', value(f'touch {TRACE}')),
    'nt.system': call('nt.system', value(f'touch {TRACE}')),
    'os.mkdir': call('os.mkdir', value(TRACE)),
    'subprocess': call('subprocess.check_output', value(['touch', TRACE])),
    'subprocess.Popen made new': make('subprocess.Popen', value(['touch', TRACE])),
    'eval': call('builtins.eval', value(RUN)),
    'exec': call('builtins.exec', value(RUN)),
    'eval of Python 2': call('__builtin__.eval', value(RUN)),
    'compile': call('builtins.compile', value(RUN), value('x'), value('exec')),
    'import': call('builtins.__import__', value('os')),
    'importlib': call('importlib.import_module', value('antigravity')),
    'runpy': call('runpy._run_code', glob('types.CodeType'), value({})),
    'open': call('builtins.open', value(TRACE), value('w')),
    'pathlib': call('pathlib.Path', value(TRACE)),
    'getattr of os': call('builtins.getattr', glob('os'), value('system')),
    'getattr chain': statistic('torch.serialization', 'os'),
    'getattr of a class': statistic('collections.OrderedDict', '__init__'),
    'getattr of a history': statistic(HISTORY, '__init__'),
    'getattr of globals': call('builtins.getattr', statistic(HISTORY, 'min'), value('__globals__')),
    'attrgetter': call('operator.attrgetter', value('system')),
    'methodcaller': call('operator.methodcaller', value('system'), value('true')),
    'partial': call('functools.partial', glob('builtins.print'), value('run')),
    'pickle in a pickle': call('pickle.loads', value(b"cposix\nsystem\n(S'true'\ntR.")),
    'torch.load': call('torch.serialization.load', value('other.pth')),
    'torch.hub': call('torch.hub.load', value('owner/name'), value('model')),
    'torch.jit': call('torch.jit._script._load', value('x')),
    'ctypes': call('ctypes.string_at', value(0x41414141)),
    'a tensor class': call('torch.FloatTensor', value(1 << 33)),
    'an untyped storage': call('torch.storage.UntypedStorage', value(1 << 36)),
    'bytearray': call('builtins.bytearray', value(1 << 36)),
    'a call of a number': value(3) + tuple_of() + pickle.REDUCE,
    'a call of a result': call('collections.OrderedDict') + tuple_of() + pickle.REDUCE,
    'codecs': hex_of_hex(34),
    'compression': codec(codec(value('a' * 1000), 'latin1'), 'zip'),
}

MEMORY = {
    'array of pointers': call('numpy.ndarray', value((1,)), value('O'), value(b'A' * 8)),
    'new array of pointers': make('numpy.ndarray', value((1,)), value('O'), value(b'A' * 8)),
    'array of another class': array(array_state(bytes(8)), kind=glob('collections.OrderedDict')),
    'array of a shape': array(array_state(bytes(8)), shape=(1 << 33,)),
    'array of objects': array(array_state(b'A' * 8, kind=dtype('O8'))),
    'array of too few bytes': array(array_state(bytes(8), (1 << 30,))),
    'array filled twice': build(array(array_state(bytes(8))), array_state(bytes(80), (10,))),
    'dtype of fields': dtype('f8,O'),
    'dtype flags': dtype('f8', (3, '|', None, None, None, -1, -1, 63)),
    'dtype size': dtype('f8', (3, '|', None, None, None, 1 << 20, 1, 0)),
    'dtype fields in the state': dtype('f8', (3, '|', None, ('a',), {'a': 1}, 8, 1, 27)),
    'dtype subarray': dtype('f8', (3, '|', ('f8', (1 << 30,)), None, None, -1, -1, 0)),
    'scalar of objects': call(f'{MULTIARRAY}.scalar', dtype('O8'), value(b'A' * 8)),
    'scalar of too few bytes': call(f'{MULTIARRAY}.scalar', dtype(), value(b'A')),
    'storage that is too short': tensor((1 << 28,), source=storage(1 << 28)),
    'storage of negative size': tensor(source=storage(-4)),
    'storage of a text size': tensor(source=storage('4')),
    'storage that is not there': tensor(source=storage(key='7')),
    'storage outside': tensor(source=storage(key='../../../../etc/passwd')),
    'storage of no kind': tensor(source=storage(kind='collections.OrderedDict')),
    'storage of another kind': tensor(source=storage(4, kind='torch.DoubleStorage')),
    'persistent id of no storage': tuple_of(value('module'), glob('os.system')) + pickle.BINPERSID,
    'persistent id of a number': value(7) + pickle.BINPERSID,
    'tensor beyond its storage': tensor((1 << 20,)),
    'tensor of negative stride': tensor((4,), (-1,)),
    'tensor of negative size': tensor((-4,)),
    'tensor of negative offset': tensor((1,), (1,), -1),
    'tensor of overflowing size': tensor((1 << 62, 4), (0, 0)),
    'tensor of overflowing stride': tensor((2,), (1 << 62,)),
    'tensor without storage': tensor(source=value([1.0] * 4)),
    'tensor with hooks': call(
        'torch._utils._rebuild_tensor_v2',
        *(storage(), value(0), value((4,)), value((1,)), value(True), value({'a': 1})),
    ),
    'tensor set by its state': build(
        make('torch.Tensor'), tuple_of(storage(), value(0), value((1 << 30,)), value((1,)))
    ),
    'meta tensor': call(
        'torch._utils._rebuild_meta_tensor_no_storage',
        *(glob('torch.float32'), value((1 << 40,)), value((1,)), value(False)),
    ),
    'tensor of another type': call(
        'torch._tensor._rebuild_from_type_v2',
        *(glob('builtins.set'), glob('builtins.set'), tuple_of(value([1])), value({'a': 1})),
    ),
}

STATE = {
    'history that changes its class': history(
        statistics_methods=value({'mean': 3}), max_length=value(1)
    ),
    'history with a method': history(_set_default_statistics=glob('builtins.set')),
    'history of a text': build(make(HISTORY), value('state')),
    'history made with arguments': make(HISTORY, value([1]), value([1])),
    'namespace of another class': namespace(value({'__class__': 1})),
    'namespace with slots': namespace(value((None, {'__class__': 1}))),
    'namespace that is reduced': namespace(dict_of((value('__reduce_ex__'), glob('os.system')))),
    'namespace made with arguments': make('argparse.Namespace', value(1)),
    'ordered dict without methods': build(
        call('collections.OrderedDict'), value({'items': 1, 'keys': 2})
    ),
    'state of a list': build(value([1]), value({'a': 1})),
    'state of a class': build(glob('argparse.Namespace'), value({'a': 1})),
}

BOMBS = {
    'tensor of stride 0': tensor((1 << 31,), (0,)),
    'tensor of strides 0': tensor((1 << 20, 1 << 20), (0, 0)),
    'tensors of stride 0': list_of(*(tensor(((1 << 24) + i,), (0,)) for i in range(8))),
    'deep lists': nested(pickle.EMPTY_LIST, pickle.APPEND, 200_000),
    'deep dicts': nested(pickle.EMPTY_DICT + value('a'), pickle.SETITEM, 200_000),
    'deep tuples': nested(b'', pickle.TUPLE1, 200_000),
    'a deep key': dict_of((nested(b'', pickle.TUPLE1, 200_000), value(1))),
    'a million steps': pickle.NONE * 1_000_001,
    'deep marks': pickle.MARK * 100_000,
    'a doubled pair': doubled(60),
    'a list in itself': pickle.EMPTY_LIST + put(1) + get(1) + pickle.APPEND,
    'a dict in itself': pickle.EMPTY_DICT + put(1) + value('a') + get(1) + pickle.SETITEM,
    'a text of a declared length': pickle.BINUNICODE + struct.pack('<I', (1 << 32) - 1) + b'a',
    'keys of one hash': dict_of(
        *((pickle.dumps(i * (2**61 - 1), 2)[2:-1], value(0)) for i in range(20_000))
    ),
}

NAMES = {
    'key with a line end': value({'a\nerror: all is well': 1}),
    'key with a zero': value({'a\0b': 1}),
    'key with an escape': value({'a\x1b[2Jb': 1}),
    'key of half a character': value({'a\ud800': 1}),
    'key of a million letters': value({'a' * 1_000_000: 1}),
    'global with a line end': glob('os.a\\nb') + tuple_of() + pickle.REDUCE,
}

BROKEN = {
    'nothing': b'',
    'an empty stack': pickle.TUPLE3,
    'a mark that is missing': value(1) + pickle.TUPLE,
    'a memo that is empty': get(3),
    'an opcode of protocol 4': b'\x8c\x01a\x93',
    'an opcode of no protocol': b'\xfe',
    'an extension': b'\x82\x01',
    'instance': MARK + pickle.INST + b'os\nsystem\n',
    'object': MARK + glob('os.system') + value(f'touch {TRACE}') + pickle.OBJ,
    'stack global': value('os') + value('system') + pickle.STACK_GLOBAL,
    'persistent id in text': pickle.PERSID + b'0\n',
    'a dict that is no pair': pickle.EMPTY_DICT + MARK + value(1) + pickle.SETITEMS,
}

OPCODES: dict[str, bytes] = CALLS | MEMORY | STATE | BOMBS | NAMES | BROKEN
"""The opcodes of one hostile object, by what it is."""


def _deflated(path: Path) -> None:
    zip_file(path, value({'a': 1}), zipfile.ZIP_DEFLATED, _0=bytes(200 << 20))


def _byte_order(path: Path) -> None:
    zip_file(path, dict_of((value('a'), tensor())))
    path.write_bytes(path.read_bytes().replace(b'little', b'middle'))


def _two_pickles(path: Path) -> None:
    zip_file(path, dict_of((value('a'), tensor())))
    with zipfile.ZipFile(path, 'a') as archive, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        archive.writestr('weights/data.pkl', b'\x80\x02' + CALLS['posix.system'] + b'.')


def _script(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        for name in ('data.pkl', 'constants.pkl', 'code/__torch__.py'):
            archive.writestr(f'weights/{name}', RUN)


def _serialization_id(path: Path) -> None:
    zip_file(path, dict_of((value('a'), tensor(source=storage(key='../data.pkl')))))


def _tar(path: Path) -> None:
    with tarfile.open(path, 'w') as archive:
        for name in ('storages', 'tensors', 'pickle', f'../{TRACE}'):
            data = pickle.PROTO + b'\2' + CALLS['posix.system'] + pickle.STOP
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _legacy_keys(path: Path) -> None:
    legacy_file(path, dict_of((value('a'), tensor(source=legacy_storage()))), keys=('0', '1'))


def _legacy_size(path: Path) -> None:
    declared = dict_of((value('a'), tensor((1 << 32,), source=legacy_storage(1 << 32))))
    legacy_file(path, declared, tail=struct.pack('<q', 1 << 32) + bytes(16))


def _legacy_view(path: Path) -> None:
    view = tuple_of(value('v'), value(0), value(1 << 32))
    legacy_file(path, dict_of((value('a'), tensor((1 << 32,), source=legacy_storage(view=view)))))


def legacy_storage(numel: object = 4, view: bytes = pickle.NONE) -> bytes:
    kind = glob('torch.FloatStorage')
    parts = (value('storage'), kind, value('0'), value('cpu'), value(numel), view)
    return tuple_of(*parts) + pickle.BINPERSID


WHOLE_FILES: dict[str, Callable[[Path], object]] = {
    'records that unpack to 200 MB': _deflated,
    'an unknown byte order': _byte_order,
    'two pickles of one name': _two_pickles,
    'a script': _script,
    'a storage that is the pickle': _serialization_id,
    'a tar archive': _tar,
    'storages that no tensor has': _legacy_keys,
    'a storage longer than the file': _legacy_size,
    'a view beyond its storage': _legacy_view,
}
"""Functions that write one hostile file each, by what it is."""


def write_all(folder: Path) -> list[Path]:
    """Writes every file of this module, those of opcodes in both formats."""
    paths = []
    for number, opcodes in enumerate(OPCODES.values()):
        content = dict_of((value('state_dict'), opcodes))
        paths.append(zip_file(folder / f'{number:03}_zip.pth', content))
        paths.append(legacy_file(folder / f'{number:03}_legacy.pth', content, keys=(), tail=b''))
    for number, write in enumerate(WHOLE_FILES.values()):
        path = folder / f'{number:03}_file.pth'
        write(path)
        paths.append(path)
    return paths
