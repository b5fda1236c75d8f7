"""Makes one database of several: the shards that machines built of one listing, or others."""

import hashlib
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import pairwise

from mmvmamba.datasets.errors import CorruptRecordError, LMDBDataError

from .format import checksum, encode_key
from .loading import LoadedImage
from .options import BuildOptions, BuildReport
from .reader import LMDBReader
from .shards import JoinedReader
from .sources import Listing
from .writer import LMDBWriter

__all__ = ['merge_lmdb']


def merge_lmdb(
    databases: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    options: BuildOptions | None = None,
) -> BuildReport:
    """Copies the records of several databases into one.

    Shards of a listing may be given in any order; the result is the database that one machine
    would have built of it. Every record is compared with its SHA-256 on the way. A merge that was
    interrupted goes on when it is called again.

    Args:
        databases: The databases.
        output: Folder of the new one.
        options: How to build it; what concerns source images has no effect.

    Raises:
        LMDBDataError: If the databases do not fit together, a key is in two of them, a record is
            damaged, or for the reasons of `LMDBWriter.run`.
    """
    return _Merger(JoinedReader(databases), output, options or BuildOptions()).run()


class _Merger(LMDBWriter):
    """Writes databases into one.

    Args:
        source: The databases.
        output: Folder of the new one.
        options: How to build it.
    """

    def __init__(
        self, source: JoinedReader, output: str | os.PathLike, options: BuildOptions
    ) -> None:
        self.source = source
        header = source.header
        labels = source.labels()
        listing = Listing(
            layout=header.layout,
            keys=list(source.sample_keys()),
            locations=[],
            labels=None if labels is None else labels.tolist(),
            classes=source.classes,
            least_classes=header.num_classes,
        )
        super().__init__(listing, output, replace(options, max_size=header.max_size))

    def run(self) -> BuildReport:
        self._refuse_double_keys()
        return super().run()

    def _refuse_double_keys(self) -> None:
        # Equal keys follow each other, and nothing but a pair of them is held.
        for key, following in pairwise(self.source.stored_keys()):
            if key == following:
                holders = [reader.path for reader in self.source.parts if key in reader]
                raise LMDBDataError(
                    f'the same key is in {" and ".join(holders)}',
                    path=str(self.output),
                    key=key,
                    remedy='Leave one of them out.',
                )

    def _fingerprint(self) -> str:
        # Manifests cover keys, labels and digests of all records.
        manifests = [reader.header.manifest for reader in self.source.parts if reader.header]
        return hashlib.sha256(' '.join(manifests).encode()).hexdigest()

    def _estimate_bytes(self) -> int:
        return self.source.header.num_bytes

    def _skipped(self) -> list[list[str]]:
        return self.source.skipped

    def _images(self, start: int) -> Generator[LoadedImage, None, None]:
        index = 0
        for reader in self.source.parts:
            if start < index + len(reader):
                yield from _records(reader, index, max(0, start - index))
            index += len(reader)


def _records(reader: LMDBReader, offset: int, start: int) -> Generator[LoadedImage, None, None]:
    """The records of a database from a place on.

    Args:
        reader: The database.
        offset: Place of its first record in the new database.
        start: Its first record that is wanted.
    """
    digests = reader.digests()
    resized = set(reader.resized().tolist())
    for place in range(start, len(reader)):
        key, _ = reader.sample(place)
        data = reader.get(key, check=False)
        digest = hashlib.sha256(data).digest()
        if digest != digests[place].tobytes():
            raise CorruptRecordError(
                'the record is not what was stored under this key',
                path=reader.path,
                key=key,
                remedy='Copy this database again or build it again, then run the same command: '
                'it goes on where it stopped.',
            )
        check = checksum(encode_key(key), data)
        yield LoadedImage(offset + place, data, digest, check, place in resized, '')
