"""Lists what is to be stored: folders, lists, tar files and trees of images become a `Listing`."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mmvmamba.datasets.errors import LMDBDataError
from mmvmamba.datasets.image_files import IMAGE_EXTENSIONS, is_image_name

from .format import FORMAT_VERSION, LABEL_DIGITS, LABEL_DTYPE, Shard, encode_key

__all__ = ['LAYOUTS', 'Listing', 'list_source']

LAYOUTS = ('folder', 'list', 'tar', 'tree')

# Path of the file, offset and number of bytes; a number of -1 stands for the whole file.
Location = tuple[str, int, int]


@dataclass(frozen=True)
class Listing:
    """The images of a source, in sample order.

    Args:
        layout: One of `LAYOUTS`.
        keys: Relative paths.
        locations: Where the bytes are; None for an image that a list names and a tar lacks.
        labels: Class indices, or None.
        classes: Class names in label order, or None.
        shard: Which share of a larger listing it is, or None.
        least_classes: How many classes there are at least, also if no image here has the last.
    """

    layout: str
    keys: list[str]
    locations: list[Location | None]
    labels: list[int] | None
    classes: list[str] | None
    shard: Shard | None = None
    least_classes: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def num_classes(self) -> int:
        if self.classes is not None:
            return len(self.classes)
        return max(self.least_classes, max(self.labels) + 1 if self.labels else 0)

    def digest(self, *settings: object) -> str:
        """Identifies keys, labels and classes, and settings that count as well."""
        head = [FORMAT_VERSION, self.layout, self.classes, *settings]
        if self.shard is not None:
            head.append(asdict(self.shard))
        digest = hashlib.sha256(json.dumps(head).encode())
        for key in self.keys:
            digest.update(encode_key(key) + b'\n')
        if self.labels is not None:
            digest.update(np.asarray(self.labels, LABEL_DTYPE).tobytes())
        return digest.hexdigest()

    def share(self, index: int, count: int) -> 'Listing':
        """One of ``count`` shares of equal numbers of images, in the order of the listing.

        Args:
            index: Which one, from 1 on.
            count: Shares in all.
        """
        if not 1 <= index <= count <= len(self):
            raise ValueError(
                f'a shard must be I of N with 1 <= I <= N <= {len(self)}, the number of images, '
                f'got {index} of {count}'
            )
        start, end = (place * len(self) // count for place in (index - 1, index))
        return Listing(
            self.layout,
            self.keys[start:end],
            self.locations[start:end],
            None if self.labels is None else self.labels[start:end],
            self.classes,
            Shard(index, count, self.digest()),
            self.num_classes,
        )

    def spread(self, limit: int) -> 'Listing':
        """``limit`` images, evenly spread, so that a sorted listing keeps all its classes."""
        if limit >= len(self):
            return self
        picks = [i * len(self) // limit for i in range(limit)]
        return Listing(
            self.layout,
            [self.keys[i] for i in picks],
            [self.locations[i] for i in picks],
            None if self.labels is None else [self.labels[i] for i in picks],
            self.classes,
            least_classes=self.num_classes,
        )

    def estimate_bytes(self, probes: int = 2000) -> int:
        """Size of all images together, exact for tar files, else from an even sample of files."""
        step = max(1, len(self) // probes)
        sizes = [_size(location) for location in self.locations[::step]]
        return int(sum(sizes) / max(1, len(sizes)) * len(self))


def list_source(
    source: str | os.PathLike,
    layout: str = 'auto',
    list_file: str | os.PathLike | None = None,
    classes: list[str] | None = None,
    all_files: bool = False,
) -> Listing:
    """Lists the images of a source.

    Args:
        source: Folder or tar file.
        layout: ``folder`` (a folder per class), ``list`` (paths and labels in a file), ``tar`` (a
            tar file per class, or one tar of class folders or class tars), ``tree`` (every image
            below the folder, without labels), or ``auto``, which is never a tree.
        list_file: For ``list``: lines of a path below the source, a space, and a class index.
        classes: Class names in label order; default: the names of the folders or tar files.
        all_files: For ``tree``: whether to take other files than images along.

    Raises:
        LMDBDataError: If there is nothing of that layout, a relative path cannot be a key or
            occurs twice, or the classes do not fit the labels.
        OSError: If a folder or a file cannot be read.
    """
    source = os.fspath(source)
    if not os.path.isdir(source) and not os.path.isfile(source):
        raise LMDBDataError('there is no such file or folder', path=source)
    layout = _resolve_layout(source, layout, list_file)
    if all_files and layout != 'tree':
        raise ValueError(f"all_files is for layout 'tree', got layout {layout!r}")
    if list_file is not None:  # The layout is 'list'.
        listing = _list_lines(source, os.fspath(list_file), classes)
    elif layout == 'tree':
        listing = _list_tree(source, all_files)
    else:
        names, samples = (_walk_folder if layout == 'folder' else _walk_tars)(source)
        listing = _label(layout, source, names, samples, classes)
    _check(listing, source)
    return listing


def _resolve_layout(source: str, layout: str, list_file: object) -> str:
    if layout not in ('auto', *LAYOUTS):
        raise ValueError(f'layout must be one of {("auto", *LAYOUTS)}, got {layout!r}')
    if (layout == 'list') != (list_file is not None) and layout != 'auto':
        raise ValueError(
            f"a list file and layout 'list' belong together, got {layout!r} and {list_file!r}"
        )
    if layout != 'auto':
        return layout
    if list_file is not None:
        return 'list'
    return 'tar' if os.path.isfile(source) or _tar_files(source) else 'folder'


def _walk_folder(source: str) -> tuple[list[str], Iterator[tuple[str, str, Location]]]:
    if not os.path.isdir(source):
        raise LMDBDataError('a folder is needed, this is a file', path=source)
    names = sorted(
        name
        for name in os.listdir(source)
        if not name.startswith('.') and os.path.isdir(os.path.join(source, name))
    )

    def samples() -> Iterator[tuple[str, str, Location]]:
        for name in names:
            folder = os.path.join(source, name)
            for path in sorted(_files_below(folder)):
                if is_image_name(path):
                    yield name, f'{name}/{path}', (os.path.join(folder, path), 0, -1)

    return names, samples()


def _files_below(
    folder: str, prefix: str = '', above: tuple[tuple[int, int], ...] = ()
) -> Iterator[str]:
    """Paths below a folder, links followed.

    Args:
        folder: The folder.
        prefix: What to put before the paths.
        above: The identities of the folders that led to it.
    """
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        raise LMDBDataError(
            'a symbolic link leads back to a folder above it', path=folder, remedy='Remove it.'
        )
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith('.'):
            continue
        if os.path.isdir(path):
            yield from _files_below(path, f'{prefix}{name}/', (*above, identity))
        else:
            yield prefix + name


def _tar_files(folder: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith('.tar'))


def _walk_tars(source: str) -> tuple[list[str], Iterator[tuple[str, str, Location]]]:
    """Classes and samples of a folder of tars, a tar of tars, or a tar of class folders."""
    samples: list[tuple[str, str, Location]] = []
    if os.path.isdir(source):
        names = [name.removesuffix('.tar') for name in _tar_files(source)]
        for name in names:
            path = os.path.join(source, f'{name}.tar')
            samples += _class_members(name, path, _tar_members(path, 0))
        return names, iter(samples)
    found = set()
    for member, offset, size in _tar_members(source, 0):
        if member.endswith('.tar'):
            name = os.path.basename(member).removesuffix('.tar')
            samples += _class_members(name, source, _tar_members(source, offset))
        elif is_image_name(member):
            name, _, rest = member.partition('/')
            if not rest:
                raise LMDBDataError(
                    'a flat tar has no classes',
                    path=source,
                    key=member,
                    remedy='Name the list of its labels with --list, or take --layout tree.',
                )
            samples.append((name, member, (source, offset, size)))
        else:
            continue
        found.add(name)
    return sorted(found), iter(sorted(samples))


def _class_members(
    name: str, path: str, members: Iterable[tuple[str, int, int]]
) -> list[tuple[str, str, Location]]:
    return sorted(
        (name, f'{name}/{member.removeprefix(f"{name}/")}', (path, offset, size))
        for member, offset, size in members
        if is_image_name(member)
    )


def _tar_members(path: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Name, offset in the file and size of each regular member of the tar at ``start``."""
    try:
        with open(path, 'rb') as file:
            file.seek(start)
            with tarfile.open(fileobj=file, mode='r:') as tar:
                for member in tar:
                    if member.issparse():
                        raise LMDBDataError(
                            'the bytes of a sparse member do not lie in one piece',
                            path=path,
                            key=member.name,
                            remedy='Unpack the tar file and build from the folder.',
                        )
                    if member.isfile():
                        yield member.name.removeprefix('./'), member.offset_data, member.size
    except (tarfile.TarError, OSError) as error:
        raise LMDBDataError(
            f'not a readable, uncompressed tar file ({error})',
            path=path,
            remedy='Unpack a compressed one first (`gunzip`), or download it again.',
        ) from error


def _list_lines(source: str, list_file: str, classes: list[str] | None) -> Listing:
    keys, labels = [], []
    text = Path(list_file).read_text('utf-8', 'surrogateescape')
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        # A path may have spaces: the label stands behind the last one.
        key, _, label = line.strip().rpartition(' ')
        if not key or not label.isdecimal() or len(label) > LABEL_DIGITS:
            raise LMDBDataError(
                f'line {number} must be "<path> <class index>", got {line!r}', path=list_file
            )
        keys.append(key.strip().removeprefix('./'))
        labels.append(int(label))
    locations: list[Location | None]
    if os.path.isdir(source) and not _tar_files(source):
        locations = [(os.path.join(source, key), 0, -1) for key in keys]
    else:
        tars = [source]
        if os.path.isdir(source):
            tars = [os.path.join(source, name) for name in _tar_files(source)]
        members = {name: (tar, at, n) for tar in tars for name, at, n in _tar_members(tar, 0)}
        # ImageNet's val.tar has "val/" or nothing before the names in val.txt.
        members |= {os.path.basename(name): place for name, place in members.items()}
        locations = [members.get(key) for key in keys]
    return Listing('list', keys, locations, labels, classes)


def _list_tree(source: str, all_files: bool) -> Listing:
    if os.path.isdir(source):
        names = sorted(_files_below(source))
        locations = [(os.path.join(source, name), 0, -1) for name in names]
    else:
        members = sorted(_tar_members(source, 0))
        names = [name for name, _, _ in members]
        locations = [(source, offset, size) for _, offset, size in members]
    picked = [i for i, name in enumerate(names) if all_files or is_image_name(name)]
    return Listing('tree', [names[i] for i in picked], [locations[i] for i in picked], None, None)


def _label(
    layout: str,
    source: str,
    names: list[str],
    samples: Iterable[tuple[str, str, Location]],
    classes: list[str] | None,
) -> Listing:
    """Labels are the positions of the folder names, in ``classes`` if given, else sorted."""
    if classes is not None and sorted(classes) != names:
        differing = sorted(set(classes) ^ set(names))
        raise LMDBDataError(
            f'the {len(classes)} class names given must be those of the {len(names)} folders, '
            f'which differ in {differing[:5]}',
            path=source,
            remedy='Leave the class list out to take the folder names.',
        )
    classes = names if classes is None else classes
    index = {name: i for i, name in enumerate(classes)}
    samples = list(samples)
    empty = sorted(set(names) - {name for name, _, _ in samples})
    if samples and empty:
        print_log(f'{source}: no image in the class folders {empty}', 'current', level=30)
    return Listing(
        layout,
        [key for _, key, _ in samples],
        [location for _, _, location in samples],
        [index[name] for name, _, _ in samples],
        classes,
    )


def _check(listing: Listing, source: str) -> None:
    if not listing.keys:
        raise LMDBDataError(
            f'no image with an extension of {IMAGE_EXTENSIONS} for layout {listing.layout!r}',
            path=source,
            remedy='Classes need a folder or tar each, a flat folder --list, a tree --layout tree.',
        )
    seen = set()
    for key in listing.keys:
        encode_key(key, source)
        if key in seen:
            raise LMDBDataError(
                'the same key occurs twice',
                path=source,
                key=key,
                remedy='Remove one of the two from the source.',
            )
        seen.add(key)
    if listing.labels and listing.classes is not None:
        top = max(listing.labels)
        if top >= len(listing.classes):
            key = listing.keys[listing.labels.index(top)]
            raise LMDBDataError(
                f'a label must be below {len(listing.classes)}, the number of classes, got {top}',
                path=source,
                key=key,
                remedy='Give the class list that belongs to the labels.',
            )


def _size(location: Location | None) -> int:
    if location is None:
        return 0
    path, _, size = location
    if size >= 0:
        return size
    return os.path.getsize(path) if os.path.exists(path) else 0
