"""Image classification from an LMDB database, in mmpretrain's pipelines."""

import copy
import logging
import os
import re
from collections.abc import Callable, Sequence

import numpy as np
from mmengine.dataset.base_dataset import force_full_init
from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from ..registry import DATASETS
from .errors import CorruptRecordError, KeyMissingError, LMDBDataError
from .image_files import find_defect
from .lmdb.backend import LMDB_PREFIX
from .lmdb.format import LABEL_DIGITS
from .lmdb.reader import LMDBReader, find_database
from .lmdb.shards import JoinedReader, open_reader

__all__ = ['ImageNetLMDB']

# Keys looked up when a list of labels is put beside a database; more would cost seconds.
LIST_PROBES = 1000


@DATASETS.register_module()
class ImageNetLMDB(BaseDataset):
    """A classification data set in one LMDB database, or in several that are read as one.

    Samples carry an ``lmdb://`` path as ``img_path``, which mmpretrain's ``LoadImageFromFile``
    reads like any other. The arguments that mmpretrain's ImageNet has too mean the same, so
    that a config changes between folder and database by its ``type`` alone. The index stays in
    the database: neither the main process nor a worker holds a copy of it.

    A database made by PlainMamba's converter is read with the list of its labels, ``ann_file``, or
    ``meta/<split>.txt`` below ``data_root``. In one of MambaVision's the keys are the paths of the
    files where it was made: the folder of an image is its class, as for torchvision. The pickled
    index beside the database is not needed.

    Args:
        data_root: The database itself, or the folder that has ``<split>.lmdb``.
        split: Name of the database in ``data_root``, without ``.lmdb``. With ``*``, as in
            ``train-*-of-00008``, all that have such a name: the shards of one listing, or
            databases of the same classes.
        data_prefix: The same as ``split``, under the name that ``CustomDataset`` uses.
        ann_file: List of ``<path> <class index>`` lines, relative to ``data_root``: picks and
            labels images in place of the database's own index.
        metainfo: Meta information; ``classes`` replaces the names of the database, one for one.
        classes: Class names, or a file with one on each line; goes into ``metainfo``.
        num_classes: The number of classes that the model expects.
        indices: Picks samples: the first so many, or those at the places given.
        pipeline: Transforms.
        test_mode: Whether a sample that cannot be had is an error in any case.
        lazy_init: Whether to leave the database alone until it is needed.
        max_refetch: How often another sample is tried for one that cannot be had.
        replace_corrupt: Whether training takes another sample for a record that cannot be decoded,
            with a warning that names it, instead of stopping.

    Raises:
        LMDBDataError: With path, key and remedy, if the database cannot be used.
    """

    # mmpretrain's attributes, whose types cannot be inferred.
    ann_file: str
    _fully_initialized: bool

    def __init__(
        self,
        data_root: str = '',
        split: str = '',
        data_prefix: str | dict = '',
        ann_file: str = '',
        metainfo: dict | None = None,
        classes: str | Sequence[str] | None = None,
        num_classes: int | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
        replace_corrupt: bool = False,
    ) -> None:
        prefix = data_prefix.get('img_path', '') if isinstance(data_prefix, dict) else data_prefix
        data_root = os.path.expanduser(data_root)
        self.reader = open_reader(_database_path(data_root, split or prefix))
        self.num_classes = num_classes
        self.replace_corrupt = replace_corrupt
        if not ann_file and split and os.path.isfile(os.path.join(data_root, f'meta/{split}.txt')):
            self._default_list = os.path.join(data_root, f'meta/{split}.txt')
        else:
            self._default_list = ''
        self._selection: np.ndarray | None = None
        self._list: _SampleList | None = None
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            classes=classes,
            data_root=data_root,
            data_prefix=self.reader.path,
            indices=indices,
            serialize_data=False,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=True,
            max_refetch=max_refetch,
        )
        if not lazy_init:
            self.full_init()

    def _join_prefix(self) -> None:
        # The data prefix is the database; only the list is relative to the root.
        if self.ann_file and self.data_root:
            self.ann_file = os.path.join(self.data_root, self.ann_file)

    def full_init(self) -> None:
        """Opens the database and checks that classes, labels and keys fit together."""
        if self._fully_initialized:
            return
        header = self.reader.header
        list_file = self.ann_file or (self._default_list if header is None else '')
        if list_file:
            self._list = _SampleList.from_file(list_file, self.reader)
        elif header is None and '/' in next(self.reader.sample_keys()):
            self._list = _SampleList.from_keys(self.reader)
        self._set_classes(self._labels())
        self._fully_initialized = True
        if self._indices is not None:
            self.get_subset_(self._indices)

    def _labels(self) -> np.ndarray:
        """The labels of all samples that the database or the list has."""
        labels = self.reader.labels() if self._list is None else self._list.labels
        if labels is None:
            own = self.reader.header is not None
            raise LMDBDataError(
                'the database has no labels' if own else 'the database needs a list of labels',
                path=self.reader.path,
                remedy='Give the list (ann_file), or build the database again with classes.',
            )
        return labels

    def _set_classes(self, labels: np.ndarray) -> None:
        path = self.reader.path
        own = self._list.classes if self._list is not None else None
        if self.reader.header is not None:
            own = self.reader.classes
        given = self._metainfo.get('classes')
        if given is not None and own is not None:
            same = sorted(given) == sorted(own) and list(given) != own
            if len(given) != len(own) or same:
                problem = 'in another order' if same else f'{len(given)} in number'
                raise LMDBDataError(
                    f'the class list must be that of the {len(own)} classes of the database, '
                    f'got one that is {problem}',
                    path=path,
                    remedy='Leave the class list out of the config, or build the database with it.',
                )
        if given is None:
            given = self._metainfo['classes'] = _class_names(own, int(labels.max()) + 1)
        top = int(labels.argmax())
        if labels[top] >= len(given):
            raise LMDBDataError(
                f'a label must be below {len(given)}, the number of classes, got {labels[top]}',
                path=path,
                key=self._record(top)[1],
                remedy='Give the classes that belong to the labels (classes=...).',
            )
        if self.num_classes is not None and len(given) != self.num_classes:
            raise LMDBDataError(
                f'the model expects {self.num_classes} classes, the data set has {len(given)}',
                path=path,
                remedy=f'Set num_classes of the head (and of the data set) to {len(given)}.',
            )

    @force_full_init
    def __len__(self) -> int:
        if self._selection is not None:
            return len(self._selection)
        return len(self.reader) if self._list is None else len(self._list)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Path, label and place of a sample."""
        index = self._index(idx)
        reader, key, label = self._record(index)
        return {
            'img_path': f'{LMDB_PREFIX}{reader.path}/{key}',
            'gt_label': label,
            'sample_idx': idx if idx >= 0 else len(self) + idx,
        }

    def load_data_list(self) -> list[dict]:
        """The information of all samples, as one list."""
        return [self.get_data_info(i) for i in range(len(self))]

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """The labels of all samples."""
        labels = self._labels()
        return (labels if self._selection is None else labels[self._selection]).astype(np.int64)

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keeps the first so many samples (the last, if negative), or those at the places."""
        places = np.arange(len(self))
        if isinstance(indices, int):
            picks = places[:indices] if indices >= 0 else places[indices:]
        else:
            picks = places[np.asarray(indices, np.int64)]
        self._selection = picks if self._selection is None else self._selection[picks]

    def get_subset(self, indices: int | Sequence[int]) -> 'ImageNetLMDB':
        """A data set of some of the samples; see `get_subset_`."""
        subset = copy.deepcopy(self)
        subset.get_subset_(indices)
        return subset

    def prepare_data(self, idx: int) -> dict | None:
        """A sample that went through the pipeline, or None for a corrupt record to be replaced."""
        try:
            return super().prepare_data(idx)
        except LMDBDataError as error:
            if not isinstance(error, CorruptRecordError) or not self._replaces(error):
                raise
        except Exception as error:
            corrupt = self._explain(idx)
            if corrupt is None:
                raise
            if not self._replaces(corrupt):
                raise corrupt from error
        return None

    def extra_repr(self) -> list[str]:
        """Lines that `repr` shows."""
        return [f'Database: \t{self.reader.path}']

    def _index(self, idx: int) -> int:
        length = len(self)
        if not -length <= idx < length:
            raise IndexError(f'index must be in [-{length}, {length}), got {idx}')
        idx %= length
        return idx if self._selection is None else int(self._selection[idx])

    def _record(self, index: int) -> tuple[LMDBReader, str, int | None]:
        """The database that has a sample, and the sample's key and label."""
        if self._list is not None:
            key, label = self._list.sample(index)
            return self.reader.holder(key), key, label
        reader, place = self.reader.part(index)
        return reader, *reader.sample(place)

    def _replaces(self, error: CorruptRecordError) -> bool:
        """Whether another sample takes the place of a corrupt one; if so, says which it was."""
        if not self.replace_corrupt or self.test_mode:
            return False
        print_log(f'{error} Another sample takes its place.', 'current', logging.WARNING)
        return True

    def _explain(self, idx: int) -> CorruptRecordError | None:
        """The error of a sample whose record is at fault, or None if the pipeline is."""
        reader, key, _ = self._record(self._index(idx))
        defect = find_defect(reader.get(key), decode=True)
        if not defect:
            return None
        return CorruptRecordError(
            f'the image cannot be decoded: {defect}',
            path=reader.path,
            key=key,
            remedy='Check with `create_lmdb_dataset.py verify`, or set replace_corrupt=True to '
            'go on.',
        )


class _SampleList:
    """Keys and labels from a text file, for a database that has none or for a choice of its images.

    Kept in arrays, which forked workers share; lists of objects would be copied bit by bit.

    Args:
        names: Keys.
        labels: Class index of each.
        classes: Class names, if they are known.
    """

    def __init__(
        self, names: list[str], labels: Sequence[int], classes: list[str] | None = None
    ) -> None:
        encoded = [name.encode('utf-8', 'surrogateescape') for name in names]
        self.labels = np.array(labels, np.int32)
        self.classes = classes
        self._text = np.frombuffer(b''.join(encoded), np.uint8)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    @classmethod
    def from_keys(cls, reader: LMDBReader | JoinedReader) -> '_SampleList':
        """Takes the folder of each image as its class, in alphabetical order."""
        names = list(reader.sample_keys())
        folders = [os.path.basename(os.path.dirname(name)) for name in names]
        classes = sorted(set(folders))
        index = {name: i for i, name in enumerate(classes)}
        return cls(names, [index[folder] for folder in folders], classes)

    @classmethod
    def from_file(cls, path: str, reader: LMDBReader | JoinedReader) -> '_SampleList':
        """Reads lines of a path, a space and a class index.

        PlainMamba's databases have file names as keys, without the folder.
        """
        if not os.path.isfile(path):
            raise LMDBDataError(
                f'there is no list of labels {path!r}',
                path=reader.path,
                remedy='Correct ann_file.',
            )
        # A path may have spaces: the label stands behind the last one.
        pairs = [line.rpartition(' ') for line in list_from_file(path) if line.strip()]
        wrong = [
            f'{name} {label}'
            for name, _, label in pairs
            if not name or not label.isdecimal() or len(label) > LABEL_DIGITS
        ]
        if wrong or not pairs:
            raise LMDBDataError(
                f'a line of the list must be "<path> <class index>", got {wrong[:1]}', path=path
            )
        names = [name.strip() for name, _, _ in pairs]
        if names[0] not in reader and os.path.basename(names[0]) in reader:
            names = [os.path.basename(name) for name in names]
        for name in names[:: max(1, len(names) // LIST_PROBES)]:
            if name not in reader:
                raise KeyMissingError(
                    f'the list {path!r} names an image that is not there',
                    path=reader.path,
                    key=name,
                    remedy='Give the list that belongs to the database.',
                )
        return cls(names, [int(label) for _, _, label in pairs])

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, index: int) -> tuple[str, int]:
        """Key and label of a line."""
        start = self._ends[index - 1] if index else 0
        text = self._text[start : self._ends[index]].tobytes()
        return text.decode('utf-8', 'surrogateescape'), int(self.labels[index])


def _database_path(root: str, name: str) -> str:
    """The database ``<root>/<name>.lmdb``, ``<root>/<name>`` or ``<root>``."""
    if not name:
        return root
    path = os.path.join(root, name)
    if path.endswith('.lmdb') or (
        find_database(path) is not None and not os.path.exists(f'{path}.lmdb')
    ):
        return path
    return f'{path}.lmdb'


def _class_names(own: list[str] | None, count: int) -> tuple[str, ...]:
    """Class names as mmpretrain has them: for ImageNet's 1000 synsets, words in the same order."""
    names = [str(i) for i in range(count)] if own is None else own
    are_synsets = names == sorted(names) and all(re.fullmatch(r'n\d{8}', name) for name in names)
    if len(names) == len(IMAGENET_CATEGORIES) and (own is None or are_synsets):
        return tuple(IMAGENET_CATEGORIES)
    return tuple(names)
