"""Checks the pages of an LMDB file before LMDB maps it.

LMDB trusts what it maps: a page that points beyond the file, or beyond its own end, ends the
process by a signal. Here the pages are read as ordinary bytes instead. Only what a reader follows
is looked at: both meta pages, and the branches and leaves of the unnamed database. That is a few
thousandths of a database of images, whose values have checksums of their own.

The names are those of LMDB's ``mdb.c``, version 0.9; a page is a header, the offsets of its nodes,
and, from its end, the nodes.
"""

import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, NoReturn

from mmvmamba.datasets.errors import LMDBDataError

__all__ = ['check_pages']

MAGIC = 0xBEEFC0DE
DATA_VERSION = 1
PAGE_SIZES = [1 << n for n in range(8, 17)]
NO_PAGE = (1 << 64) - 1
NUM_METAS = 2
DEPTH_LIMIT = 32
# Pages at the end that a file may lack: LMDB writes none that a transaction took and gave back.
UNWRITTEN_LIMIT = 1024

HEADER = struct.Struct('<QHHHH')  # number, padding, flags, ends of the offsets and of the free room
BRANCH, LEAF, META = 0x01, 0x02, 0x08
# Magic, version, address, size of the map; the free and the main database; last page, transaction.
META_FIELDS = struct.Struct('<IIQQ' + 2 * 'IHHQQQQQ' + 'QQ')
INTEGER_KEYS = 0x08  # the one flag of the database of free pages; the main one has none
NODE = struct.Struct('<HHHH')  # size (or page) in two parts, flags (or page), bytes of the key
PAGE_NUMBER = struct.Struct('<Q')
IN_PAGES, IS_DATABASE = 0x01, 0x02  # where a value is, or what it is

REMEDY = 'Copy it again, or build it again.'


@dataclass(frozen=True)
class _Meta:
    page_size: int
    free_flags: int
    free_root: int
    flags: int
    depth: int
    entries: int
    root: int
    last_page: int
    transaction: int


def check_pages(file: str | os.PathLike) -> None:
    """Makes sure that LMDB can read a file.

    Args:
        file: The data file, ``data.mdb``.

    Raises:
        LMDBDataError: If it is no LMDB file, was cut short, or has a broken page.
    """
    with open(file, 'rb') as stream:
        meta = _read_meta(stream, os.fspath(file))
        tree = _Tree(stream, os.fspath(file), meta)
        tree.require(meta.last_page - UNWRITTEN_LIMIT)
        if meta.free_root != NO_PAGE:
            tree.require(meta.free_root)
        tree.check()


def _read_meta(stream: IO[bytes], file: str) -> _Meta:
    """The meta page that LMDB would take: that of the later transaction."""
    first = _parse_meta(stream, 0, file)
    second = _parse_meta(stream, first.page_size, file)
    for meta in (first, second):
        if meta.page_size != first.page_size or meta.page_size not in PAGE_SIZES:
            _refuse('the meta pages give no size of a page', file)
        if meta.free_flags & 0xFF != INTEGER_KEYS or meta.flags != 0:
            _refuse('the meta pages give flags of databases that are not known', file)
        if meta.last_page < NUM_METAS - 1:
            _refuse('the meta pages give no last page', file)
        if meta.depth > DEPTH_LIMIT:
            _refuse('the meta pages give a tree that is too deep', file)
    return second if second.transaction > first.transaction else first


def _parse_meta(stream: IO[bytes], at: int, file: str) -> _Meta:
    stream.seek(at)
    data = stream.read(HEADER.size + META_FIELDS.size)
    if len(data) < HEADER.size + META_FIELDS.size:
        _refuse(f'the file of {os.path.getsize(file)} bytes is too short for an LMDB file', file)
    flags = HEADER.unpack_from(data)[2]
    values = META_FIELDS.unpack_from(data, HEADER.size)
    magic, version = values[:2]
    if magic != MAGIC or flags != META:
        _refuse('it is no LMDB file', file)
    if version != DATA_VERSION:
        _refuse(f"LMDB's data format must be {DATA_VERSION}, got {version}", file)
    free, main = values[4:12], values[12:20]
    return _Meta(free[0], free[1], free[7], main[1], main[2], main[6], main[7], *values[20:])


def _refuse(problem: str, file: str) -> NoReturn:
    raise LMDBDataError(problem, path=file, remedy=REMEDY)


class _Tree:
    """The pages of the main database.

    Args:
        stream: The file.
        file: Its name, for messages.
        meta: What the meta page says of it.
    """

    def __init__(self, stream: IO[bytes], file: str, meta: _Meta) -> None:
        self.stream = stream
        self.file = file
        self.meta = meta
        self.size = os.fstat(stream.fileno()).st_size
        self.entries = 0
        self.seen: set[int] = set()

    def require(self, number: int) -> None:
        """Refuses a file that ends before the end of a page."""
        expected = (number + 1) * self.meta.page_size
        if self.size < expected:
            _refuse(
                f'the file must have at least {expected} bytes, got {self.size}: it was cut short',
                self.file,
            )

    def check(self) -> None:
        """Walks over the whole tree."""
        if self.meta.root != NO_PAGE:
            self._check_page(self.meta.root, 0, b'', None)
        if self.entries != self.meta.entries:
            self._refuse_page(
                self.meta.root, f'the tree must have {self.meta.entries} keys, got {self.entries}'
            )

    def _check_page(self, number: int, depth: int, low: bytes, high: bytes | None) -> None:
        """Checks a page and what is below it.

        Args:
            number: The page.
            depth: How many pages are above it.
            low: No key may be lower.
            high: All keys must be lower, if given.
        """
        if not NUM_METAS <= number <= self.meta.last_page:
            self._refuse_page(number, 'there is no such page')
        if number in self.seen:
            self._refuse_page(number, 'more than one page leads to it')
        self.require(number)
        self.seen.add(number)
        self.stream.seek(number * self.meta.page_size)
        page = self.stream.read(self.meta.page_size)
        own_number, _, flags, lower, upper = HEADER.unpack_from(page)
        # All leaves are equally deep.
        if own_number != number or flags != (LEAF if depth == self.meta.depth - 1 else BRANCH):
            self._refuse_page(number, 'it is not what should be there')
        if not HEADER.size < lower <= upper <= len(page) or lower % 2:
            self._refuse_page(number, 'its nodes overlap')
        offsets = struct.unpack_from(f'<{(lower - HEADER.size) // 2}H', page, HEADER.size)
        if any(at % 2 or not upper <= at <= len(page) - NODE.size for at in offsets):
            self._refuse_page(number, 'a node is outside of it')
        if flags == LEAF:
            self._check_leaf(number, page, offsets, low, high)
        else:
            self._check_branch(number, page, offsets, depth, low, high)

    def _check_leaf(
        self, number: int, page: bytes, offsets: tuple[int, ...], low: bytes, high: bytes | None
    ) -> None:
        keys = []
        for at in offsets:
            size_low, size_high, flags, key_size = NODE.unpack_from(page, at)
            start = at + NODE.size + key_size
            size = size_low | size_high << 16
            if key_size == 0 or flags not in (0, IN_PAGES, IS_DATABASE):
                self._refuse_page(number, 'a node of it is broken')
            if start + (PAGE_NUMBER.size if flags == IN_PAGES else size) > len(page):
                self._refuse_page(number, 'a value ends beyond it')
            if flags == IN_PAGES:
                first = PAGE_NUMBER.unpack_from(page, start)[0]
                last = first + (HEADER.size - 1 + size) // self.meta.page_size
                if first < NUM_METAS or last > self.meta.last_page:
                    self._refuse_page(number, 'a value ends beyond the file')
                self.require(last)
            keys.append(page[at + NODE.size : start])
        self._check_order(number, keys, low, high)
        self.entries += len(keys)

    def _check_branch(
        self,
        number: int,
        page: bytes,
        offsets: tuple[int, ...],
        depth: int,
        low: bytes,
        high: bytes | None,
    ) -> None:
        if len(offsets) == 1:
            self._refuse_page(number, 'a branch must have two pages or more below it')
        keys, children = [], []
        for at in offsets:
            child_low, child_middle, child_high, key_size = NODE.unpack_from(page, at)
            if at + NODE.size + key_size > len(page):
                self._refuse_page(number, 'a key ends beyond it')
            children.append(child_low | child_middle << 16 | child_high << 32)
            keys.append(page[at + NODE.size : at + NODE.size + key_size])
        # The first child has all that is lower than the second one's key; its own is not looked at.
        self._check_order(number, keys[1:], low, high)
        lows, highs = [low, *keys[1:]], [*keys[1:], high]
        for child, lowest, highest in zip(children, lows, highs, strict=True):
            self._check_page(child, depth + 1, lowest, highest)

    def _check_order(self, number: int, keys: list[bytes], low: bytes, high: bytes | None) -> None:
        # Were they out of order, LMDB would not find keys that are there.
        inside = not keys or (low <= keys[0] and (high is None or keys[-1] < high))
        if not inside or any(a >= b for a, b in pairwise(keys)):
            self._refuse_page(number, 'its keys are out of order')

    def _refuse_page(self, number: int, problem: str) -> NoReturn:
        _refuse(f'page {number} is broken: {problem}', self.file)
