"""What can be wrong with a data set: what it is, where, and what to do about it."""

__all__ = [
    'AnnotationError',
    'CorruptRecordError',
    'DataError',
    'ImageError',
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
    """A database, or what it is to be built of, cannot be used."""


class KeyMissingError(LMDBDataError):
    """The database has no such key."""


class CorruptRecordError(LMDBDataError):
    """A record is not the bytes that were stored, or not a readable image."""


class LabelMismatchError(LMDBDataError):
    """Labels or class names do not fit the database or the model."""


class SourceError(LMDBDataError):
    """The images cannot be listed or read."""
