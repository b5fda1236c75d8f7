"""Walks through a pickle before it is unpickled, and makes nothing of it.

torch's weights-only unpickler calls a fixed list of functions, but with any arguments. A file of a
few bytes can so declare tensors of any size, data so nested that no reader gets to its end, or a
key whose hash overruns the stack. Here the same opcodes move names and numbers about; what comes
out is held against the storages that are really in the file.
"""

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import torch

from mmvmamba.compat.serialization import SAFE_GLOBALS

__all__ = ['BadPickle', 'OversizedPickle', 'PickleCheck', 'UnsafePickle']

# An optimizer's state takes about a hundred steps a parameter.
MAX_STEPS = 1_000_000
MAX_NODES = 1_000_000
MAX_DEPTH = 100
MAX_KEY_LENGTH = 1000

STORAGE_BYTES = dict(
    Double=8, Float=4, Half=2, BFloat16=2, Long=8, Int=4, Short=2, Char=1, Byte=1, Bool=1,
    ComplexDouble=16, ComplexFloat=8, Untyped=1,
)  # fmt: skip
ORDERED_DICT = 'collections.OrderedDict'
CFG_NODE = 'yacs.config.CfgNode'
HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
NAMESPACE = 'argparse.Namespace'
FILLED = (ORDERED_DICT, 'collections.Counter', CFG_NODE)
# Attributes of an OrderedDict hide its methods, so they are named one by one.
ATTRIBUTES = {
    ORDERED_DICT: {'_metadata'},
    CFG_NODE: {'__immutable__', '__deprecated_keys__', '__renamed_keys__', '__new_allowed__'},
}
TENSOR_CLASSES = ('torch.Tensor', 'torch.nn.parameter.Parameter')


class BadPickle(ValueError):
    """Opcodes or arguments that torch never writes: the file is damaged or forged."""


class UnsafePickle(ValueError):
    """The name of something that is not read safely."""


class OversizedPickle(ValueError):
    """More data than the file can honestly hold."""


@dataclass(frozen=True)
class Name:
    """A class or function that the file names."""

    text: str


@dataclass(frozen=True)
class Storage:
    """The bytes behind tensors."""

    key: str
    numel: int
    itemsize: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.itemsize


@dataclass(eq=False)
class Dict:
    pairs: list[tuple] = field(default_factory=list)


@dataclass(eq=False)
class Made:
    """What a call would give."""

    name: str
    args: tuple = ()
    pairs: list[tuple] = field(default_factory=list)
    state: object = None


class PickleCheck:
    """Checks the pickles of one file.

    Args:
        limit: The bytes that all its tensors may declare together; None for any.
        records: The bytes of each storage in the file by key, if they are known beforehand.

    Attributes:
        storages: The storages that were named, by key.
    """

    def __init__(self, limit: int | None, records: Mapping[str, int] | None = None) -> None:
        self.limit, self.records = limit, records
        self.storages: dict[str, Storage] = {}
        self._shapes: set[tuple] = set()
        self._declared = 0

    def run(self, stream: BinaryIO) -> object:
        """Checks one pickle and leaves the stream behind it.

        Returns:
            Its content if that is plain data, with names and notes in place of all objects.

        Raises:
            BadPickle, UnsafePickle, OversizedPickle: It must not be unpickled.
        """
        self.stack: list = []
        self.outer: list[list] = []
        self.memo: dict[int, object] = {}
        try:
            content = self._walk(stream)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise BadPickle(f'its opcodes do not fit together: {error!r}') from error
        _measure(content, math.inf if self.limit is None else MAX_NODES)
        return content

    def _walk(self, stream: BinaryIO) -> object:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if step > MAX_STEPS and self.limit is not None:
                raise OversizedPickle(f'its description of the data has over {MAX_STEPS:,} steps')
            if opcode.name == 'STOP':
                return self.stack.pop()
            if opcode.name in _PUSHED:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            elif opcode.name in _STEPS:
                _STEPS[opcode.name](self, argument)
            else:
                raise BadPickle(f'torch does not write the opcode {opcode.name}')
        raise BadPickle('it has no end')

    def _global(self, argument: str) -> None:
        name = argument.replace(' ', '.', 1).replace('__builtin__.', 'builtins.', 1)
        if name not in _RULES and name not in TENSOR_CLASSES and _itemsize(name) is None:
            raise UnsafePickle(name)
        self.stack.append(Name(name))

    def _reduce(self, _: None) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def _newobj(self, _: None) -> None:
        args = self.stack.pop()
        kind = self.stack.pop()
        if args != () or kind.text not in (HISTORY, NAMESPACE, CFG_NODE):
            raise UnsafePickle(kind.text)
        self.stack.append(Made(kind.text))

    def _call(self, function: Name, args: tuple) -> object:
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise BadPickle('it calls what is no function')
        if function.text not in _RULES:
            raise UnsafePickle(function.text)
        return _RULES[function.text](self, function.text, args)

    def _build(self, _: None) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if not isinstance(made, Made) or made.name not in _BUILT or made.state is not None:
            raise BadPickle('it sets the state of something that has none')
        names = ATTRIBUTES.get(made.name)
        if names is not None and not (
            isinstance(state, Dict) and names.issuperset(key for key, _ in state.pairs)
        ):
            raise BadPickle(f'it sets attributes that {made.name} does not have')
        made.state = state

    def _persistent(self, _: None) -> None:
        kind, storage_type, key, place, numel, *view = self.stack.pop()
        itemsize = _itemsize(storage_type.text)
        if kind != 'storage' or itemsize is None or not (type(key) is type(place) is str):
            raise BadPickle('it refers to something that is no storage')
        storage = Storage(key, _natural(numel), itemsize)
        if self.storages.setdefault(key, storage).nbytes != storage.nbytes:
            raise BadPickle(f'it declares two sizes of storage {key}')
        if self.records is not None and self.records[key] < storage.nbytes:
            raise BadPickle(
                f'storage {key} is declared with {storage.nbytes:,} bytes and has '
                f'{self.records[key]:,}'
            )
        if view and view[0] is not None:
            _, offset, size = view[0]
            if _natural(offset) + _natural(size) > storage.numel:
                raise BadPickle(f'it looks beyond the end of storage {key}')
            storage = Storage(f'{key}+{offset}', size, itemsize)
        self.stack.append(storage)

    def _append(self, _: None) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self, _: None) -> None:
        self._extend(self._pop_mark())

    def _extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise BadPickle('it appends to what is no list')
        self.stack[-1].extend(items)

    def _setitem(self, _: None) -> None:
        item, key = self.stack.pop(), self.stack.pop()
        self._set_pairs([key, item])

    def _setitems(self, _: None) -> None:
        self._set_pairs(self._pop_mark())

    def _set_pairs(self, items: list) -> None:
        target = self.stack[-1]
        if not isinstance(target, Dict) and not (
            isinstance(target, Made) and target.name in FILLED
        ):
            raise BadPickle('it sets items of what is no dict')
        for key, item in zip(items[::2], items[1::2], strict=True):
            _check_key(key)
            target.pairs.append((key, item))

    def _mark(self, _: None) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _pop_mark(self) -> list:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def _tuple(self, _: None) -> None:
        items = tuple(self._pop_mark())
        self.stack.append(items)

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _tensor(self, name: str, args: tuple) -> Made:
        storage, offset, size, stride, *rest = args
        if name.endswith('_v3'):
            storage = Storage(storage.key, storage.nbytes, 1)
            itemsize = _itemsize(rest.pop(2).text)
        else:
            itemsize = storage.itemsize
        if not isinstance(storage, Storage) or not itemsize or len(size) != len(stride):
            raise BadPickle('it has a tensor without storage')
        _check_extras(rest)
        sizes, steps = list(map(_natural, size)), list(map(_natural, stride))
        numel = math.prod(sizes)
        last = sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
        if numel and (_natural(offset) + last + 1) * itemsize > storage.nbytes:
            raise BadPickle(f'a tensor of shape {size} reaches beyond its storage')
        self._declare((storage.key, offset, size, stride), numel * itemsize)
        return Made(name)

    def _declare(self, what: tuple, nbytes: int) -> None:
        # Tied weights are one tensor, however often they are named.
        if self.limit is None or what in self._shapes:
            return
        self._shapes.add(what)
        self._declared += nbytes
        if self._declared > self.limit:
            raise OversizedPickle(
                f'it declares tensors of {self._declared:,} bytes, the last of shape {what[2]}'
            )

    def _parameter(self, name: str, args: tuple) -> Made:
        data, requires_grad, hooks, *state = args
        if not isinstance(data, Made) or data.name not in _TENSORS:
            raise BadPickle('it has a parameter without a tensor')
        _check_extras([requires_grad, hooks])
        return Made(name, state=state[0] if state else None)

    def _typed_tensor(self, name: str, args: tuple) -> Made:
        function, kind, inner, state = args
        if not isinstance(kind, Name) or kind.text not in TENSOR_CLASSES:
            raise UnsafePickle(getattr(kind, 'text', name))
        if function.text not in _TENSORS:
            raise UnsafePickle(function.text)
        self._call(function, inner)
        return Made(name, state=state)

    def _mapping(self, name: str, args: tuple) -> Made:
        pairs = args[0] if args else []
        pairs = pairs.pairs if isinstance(pairs, Dict) else [tuple(pair) for pair in pairs]
        for key, _ in pairs:
            _check_key(key)
        return Made(name, pairs=list(pairs))

    def _set(self, name: str, args: tuple) -> Made:
        (items,) = args
        for item in items:
            _check_key(item)
        return Made(name)

    def _encoded(self, name: str, args: tuple) -> Made:
        text, codec = args
        if type(text) is not str or codec != 'latin1':
            # Other codecs blow up what they are given, call after call.
            raise UnsafePickle(f'{name} of {codec!r:.40}')
        return Made(name)

    def _plain_call(self, name: str, args: tuple) -> Made:
        """A call whose arguments are checked by what is called."""
        for part in args:
            for item in part if isinstance(part, list | tuple) else [part]:
                if not isinstance(item, Name | Made | int | float | str | None):
                    raise BadPickle(f'it calls {name} with {item!r:.40}')
        return Made(name, args)


def _natural(number: object) -> int:
    if type(number) is not int or not 0 <= number < 2**63:
        raise BadPickle(f'it has the size {number!r:.40}')
    return number


def _itemsize(name: str) -> int | None:
    """The bytes of an element, if the name is that of a type of storage or of elements."""
    if not name.startswith('torch.'):
        return None
    last = name.rpartition('.')[2]
    if last.endswith('Storage'):
        return STORAGE_BYTES.get(last.removesuffix('Storage'))
    dtype = getattr(torch, last, None)
    return dtype.itemsize if name == f'torch.{last}' and isinstance(dtype, torch.dtype) else None


def _check_key(key: object) -> None:
    parts = key if type(key) is tuple else (key,)
    if not all(part is None or isinstance(part, bool | int | float | str) for part in parts):
        raise BadPickle('it has a key that is neither a text nor a number')
    for part in parts:
        if isinstance(part, str) and (len(part) > MAX_KEY_LENGTH or not part.isprintable()):
            raise BadPickle(f'it has the key {part!r:.80}')
        if isinstance(part, int) and abs(part) >= 2**63:
            raise BadPickle('it has a key of over 64 bits')


def _check_extras(extras: list) -> None:
    """Checks the flag, the hooks and the flags by name that may follow a tensor's geometry."""
    for extra in extras:
        is_hooks = isinstance(extra, Made) and extra.name == ORDERED_DICT and not extra.pairs
        is_flags = isinstance(extra, Dict) and all(type(value) is bool for _, value in extra.pairs)
        if not (extra is None or type(extra) is bool or is_hooks or is_flags):
            raise BadPickle('it has a tensor with hooks')


def _measure(content: object, limit: float) -> None:
    """Refuses data that contains itself, is nested too deeply, or is huge when written out."""
    known: dict[int, tuple[int, int]] = {}

    def visit(value: object, depth: int) -> tuple[int, int]:
        if isinstance(value, Name) and (
            _itemsize(value.text) is None or value.text.endswith('Storage')
        ):
            raise UnsafePickle(value.text)
        children = _children(value)
        if not children:
            return 1, 1
        if id(value) not in known:
            if depth > MAX_DEPTH:
                raise BadPickle(f'its data is nested over {MAX_DEPTH} levels, or in itself')
            known[id(value)] = (0, MAX_DEPTH + 2)  # What is met again on the way contains itself.
            inside = [visit(child, depth + 1) for child in children]
            known[id(value)] = 1 + sum(n for n, _ in inside), 1 + max(h for _, h in inside)
        size, height = known[id(value)]
        if depth + height > MAX_DEPTH + 1:
            raise BadPickle(f'its data is nested over {MAX_DEPTH} levels, or in itself')
        if size > limit:
            raise OversizedPickle(f'its data has over {limit:,} entries when written out')
        return size, height

    visit(content, 0)


def _children(value: object) -> list | tuple:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Dict):
        return [item for _, item in value.pairs]
    if isinstance(value, Made):
        return [item for _, item in value.pairs] + ([] if value.state is None else [value.state])
    return ()


_PUSHED = {
    'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINSTRING',
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], object]] = {
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
    'EMPTY_TUPLE': tuple,
    'EMPTY_LIST': list,
    'EMPTY_DICT': Dict,
    'EMPTY_SET': lambda: Made('builtins.set'),
}
_STEPS: dict[str, Callable] = {
    'PROTO': lambda check, argument: None,
    'GLOBAL': PickleCheck._global,
    'REDUCE': PickleCheck._reduce,
    'NEWOBJ': PickleCheck._newobj,
    'BUILD': PickleCheck._build,
    'BINPERSID': PickleCheck._persistent,
    'APPEND': PickleCheck._append,
    'APPENDS': PickleCheck._appends,
    'SETITEM': PickleCheck._setitem,
    'SETITEMS': PickleCheck._setitems,
    'MARK': PickleCheck._mark,
    'TUPLE': PickleCheck._tuple,
    'TUPLE1': lambda check, _: check.stack.append((check.stack.pop(),)),
    'TUPLE2': lambda check, _: check.stack.append((check.stack.pop(-2), check.stack.pop())),
    'TUPLE3': lambda check, _: check.stack.append(
        (check.stack.pop(-3), check.stack.pop(-2), check.stack.pop())
    ),
    'BINGET': PickleCheck._get,
    'LONG_BINGET': PickleCheck._get,
    'BINPUT': PickleCheck._put,
    'LONG_BINPUT': PickleCheck._put,
}
_TENSORS = ('torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2',
            'torch._utils._rebuild_tensor_v3')  # fmt: skip
_BUILT = (ORDERED_DICT, CFG_NODE, HISTORY, NAMESPACE, 'numpy.dtype',
          'numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct')  # fmt: skip
_RULES: dict[str, Callable[[PickleCheck, str, tuple], object]] = {
    **{name: PickleCheck._plain_call for _, name in SAFE_GLOBALS if name},
    **dict.fromkeys(_TENSORS, PickleCheck._tensor),
    'torch._utils._rebuild_parameter': PickleCheck._parameter,
    'torch._utils._rebuild_parameter_with_state': PickleCheck._parameter,
    'torch._tensor._rebuild_from_type_v2': PickleCheck._typed_tensor,
    'torch.Size': PickleCheck._plain_call,
    'torch.device': PickleCheck._plain_call,
    'builtins.complex': PickleCheck._plain_call,
    'builtins.set': PickleCheck._set,
    '_codecs.encode': PickleCheck._encoded,
    'collections.OrderedDict': PickleCheck._mapping,
    'collections.Counter': PickleCheck._mapping,
}
