"""What can be wrong with a data set: what it is, where, and what to do about it."""

__all__ = [
    'AnnotationError',
    'CorruptRecordError',
    'DataError',
    'DatabaseExistsError',
    'DatabaseIncompleteError',
    'DatabaseInvalidError',
    'DatabaseNotFoundError',
    'DatabaseVersionError',
    'DiskFullError',
    'ImageError',
    'KeyInvalidError',
    'KeyMissingError',
    'LMDBDataError',
    'LabelMismatchError',
    'SourceError',
]


class DataError(ValueError):
    """Base of the errors below.

    Args:
        problem: What is wrong, as one sentence without the names below.
        path: The database (or source folder) it was found in.
        key: The record, where one is concerned.
        remedy: What the user can do, as one sentence.
    """

    # A data loader worker's error is built again in the main process from its text alone, hence
    # the defaults.
    def __init__(self, problem: str, path: str = '', key: str = '', remedy: str = '') -> None:
        where = ', '.join(
            part for part in (path and f'path: {path}', key and f'key: {key}') if part
        )
        text = f'{problem} ({where}).' if where else problem
        super().__init__(f'{text} {remedy}' if remedy else text)
        self.problem = problem
        self.path = path
        self.key = key
        self.remedy = remedy


class AnnotationError(DataError):
    """A file of annotations is broken, or does not fit the images or the model."""


class ImageError(DataError):
    """An image or a mask cannot be read, or is not what its record says."""


class LMDBDataError(DataError):
    """Base of the errors below."""


class DatabaseNotFoundError(LMDBDataError):
    """There is no database at the path."""


class DatabaseExistsError(LMDBDataError):
    """A database would be overwritten."""


class DatabaseIncompleteError(LMDBDataError):
    """The database was cut short, or its build never finished."""


class DatabaseInvalidError(LMDBDataError):
    """The file is no LMDB database, or none of a known record layout."""


class DatabaseVersionError(LMDBDataError):
    """The record layout is newer than this version of the package."""


class DiskFullError(LMDBDataError):
    """The database does not fit on the disk."""


class KeyInvalidError(LMDBDataError):
    """A key is too long, occurs twice or is not a plain relative path."""


class KeyMissingError(LMDBDataError):
    """The database has no such key."""


class CorruptRecordError(LMDBDataError):
    """A record is not the bytes that were stored, or not a readable image."""


class LabelMismatchError(LMDBDataError):
    """Labels or class names do not fit the database or the model."""


class SourceError(LMDBDataError):
    """The images cannot be listed or read."""
