"""Several databases read as one: the shards of a listing, or databases of the same classes."""

import hashlib
import heapq
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from glob import glob, has_magic
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from mmvmamba.datasets.errors import KeyMissingError, LMDBDataError

from .format import Header
from .reader import LMDBReader, find_database

__all__ = ['JoinedReader', 'find_databases', 'in_order', 'open_reader', 'shard_path']


def shard_path(output: str | os.PathLike, index: int, count: int) -> Path:
    """Names a shard of a database: ``train-00002-of-00008.lmdb`` of ``train.lmdb``."""
    output = Path(output)
    return output.with_name(f'{output.stem}-{index:05d}-of-{count:05d}{output.suffix}')


def find_databases(pattern: str) -> list[str]:
    """The databases that a path with ``*``, ``?`` or ``[...]`` stands for, by name."""
    return sorted(
        path for path in glob(pattern) if path.endswith('.lmdb') and find_database(path) is not None
    )


def open_reader(path: str | os.PathLike) -> 'LMDBReader | JoinedReader':
    """A reader of one database, or of all that a path with ``*`` stands for."""
    path = os.fspath(path)
    return JoinedReader(path) if has_magic(path) and not os.path.exists(path) else LMDBReader(path)


def in_order(readers: Sequence[LMDBReader]) -> list[LMDBReader]:
    """Puts databases in the order of their listing, and makes sure that they fit together.

    Args:
        readers: All shards of a listing, in any order; or databases with a whole listing each,
            whose order stays.

    Raises:
        LMDBDataError: If classes or the limit of sizes differ, only some have labels, or shards
            are missing, double, or of other listings.
    """
    first = readers[0]
    for reader in readers:
        if reader.header is None:
            raise LMDBDataError(
                'only databases of the layout of mmvmamba can be read as one',
                path=reader.path,
                remedy='Build it again from its images.',
            )
        _compare(first, reader)
    shards = [reader.shard for reader in readers]
    model, known = next(
        ((reader, shard) for reader, shard in zip(readers, shards, strict=True) if shard),
        (first, None),
    )
    if known is None:
        return list(readers)
    placed: dict[int, LMDBReader] = {}
    for reader, shard in zip(readers, shards, strict=True):
        if shard is None or (shard.count, shard.listing) != (known.count, known.listing):
            raise LMDBDataError(
                f'it is no shard of the listing that {model.path} is one of',
                path=reader.path,
                remedy='Take the shards of one listing, built by commands that differ in --shard '
                'alone.',
            )
        if shard.index in placed:
            raise LMDBDataError(
                f'shard {shard.index} is there twice: {placed[shard.index].path}', path=reader.path
            )
        placed[shard.index] = reader
    missing = sorted({*range(1, known.count + 1)} - placed.keys())
    if missing:
        raise LMDBDataError(
            f'shards {_some(missing)} of {known.count} are missing',
            path=model.path,
            remedy='Build them, or copy them to the others.',
        )
    return [placed[index] for index in sorted(placed)]


def _some(numbers: list[int]) -> str:
    return ', '.join(map(str, numbers[:10])) + (', ...' if len(numbers) > 10 else '')


def _compare(first: LMDBReader, other: LMDBReader) -> None:
    def facts(reader: LMDBReader) -> dict[str, object]:
        header = reader.header
        assert header is not None
        return {
            'class names': reader.classes,
            'labels': header.num_classes > 0,
            'the limit of sizes (--max-size)': header.max_size,
        }

    theirs = facts(other)
    for what, value in facts(first).items():
        if theirs[what] != value:
            raise LMDBDataError(
                f'{what} must be those of {first.path}, which differ',
                path=other.path,
                remedy='Build it again as that one.',
            )


class JoinedReader:
    """Read access to several databases as if they were one, with the interface of `LMDBReader`.

    Nothing is looked for before the first use. Samples come in the order of the listing, so that
    all shards of one give what a single database of it would give.

    Args:
        pattern: Path with ``*``, such as ``data/train-*-of-00008.lmdb``; or the databases.
    """

    def __init__(self, pattern: str | Sequence[str | os.PathLike]) -> None:
        self.path = (
            pattern if isinstance(pattern, str) else ', '.join(os.fspath(path) for path in pattern)
        )
        self._given = None if isinstance(pattern, str) else [os.fspath(path) for path in pattern]

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.path!r})'

    @cached_property
    def parts(self) -> list[LMDBReader]:
        """Readers of the databases, in order."""
        paths = find_databases(self.path) if self._given is None else self._given
        if not paths:
            raise LMDBDataError(
                'no LMDB database has a name like this',
                path=self.path,
                remedy='Build the shards with --shard, or correct the path in the config.',
            )
        return in_order([LMDBReader(path) for path in paths])

    @cached_property
    def _ends(self) -> list[int]:
        """Where the samples of each database end among all."""
        return list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def header(self) -> Header:
        """What a database of all samples would say about itself, but for its manifest."""
        headers = [reader.header for reader in self.parts if reader.header is not None]
        digest = hashlib.sha256(''.join(header.manifest for header in headers).encode())
        return replace(
            headers[0],
            num_records=len(self),
            num_classes=max(header.num_classes for header in headers),
            num_bytes=sum(header.num_bytes for header in headers),
            num_resized=sum(header.num_resized for header in headers),
            num_skipped=sum(header.num_skipped for header in headers),
            manifest=digest.hexdigest(),
        )

    @property
    def classes(self) -> list[str] | None:
        """Class names in label order, if the databases have them."""
        return self.parts[0].classes

    @property
    def skipped(self) -> list[list[str]]:
        """Key and reason of each source image that could not be read."""
        return list(chain.from_iterable(reader.skipped for reader in self.parts))

    def part(self, index: int) -> tuple[LMDBReader, int]:
        """The database that has a sample, and the sample's place in it."""
        if not 0 <= index < len(self):
            raise IndexError(f'index must be in [0, {len(self)}), got {index}')
        number = bisect_right(self._ends, index)
        return self.parts[number], index - (self._ends[number - 1] if number else 0)

    def holder(self, key: str) -> LMDBReader:
        """The database that has a key.

        Raises:
            KeyMissingError: If none has it.
        """
        for reader in self.parts:
            if key in reader:
                return reader
        raise KeyMissingError(
            f'no such image among {len(self)}',
            path=self.path,
            key=key,
            remedy='Compare with `create_lmdb_dataset.py info`, or build the databases again.',
        )

    def get(self, key: str, check: bool = True) -> bytes:
        """The bytes of an image; see `LMDBReader.get`."""
        return self.holder(key).get(key, check)

    def __contains__(self, key: str) -> bool:
        return any(key in reader for reader in self.parts)

    def sample(self, index: int) -> tuple[str, int | None]:
        """Key and label of a sample; the label is None in databases without labels."""
        reader, place = self.part(index)
        return reader.sample(place)

    def sample_keys(self) -> Iterator[str]:
        """All keys in sample order."""
        return chain.from_iterable(reader.sample_keys() for reader in self.parts)

    def stored_keys(self, prefix: str = '') -> Iterator[str]:
        """The keys that begin with a text, in LMDB's order."""
        # Surrogates, for bytes that are not UTF-8, sort otherwise than the bytes.
        return heapq.merge(
            *(reader.stored_keys(prefix) for reader in self.parts),
            key=lambda key: key.encode('utf-8', 'surrogateescape'),
        )

    def labels(self) -> np.ndarray | None:
        """Class indices in sample order, if the databases have them."""
        found = [labels for reader in self.parts if (labels := reader.labels()) is not None]
        return np.concatenate(found) if found else None

    def sizes(self) -> np.ndarray:
        """Bytes of each record in sample order."""
        return np.concatenate([reader.sizes() for reader in self.parts])

    def digests(self) -> np.ndarray:
        """SHA-256 of each record in sample order, as (N, 32) bytes."""
        return np.concatenate([reader.digests() for reader in self.parts])
