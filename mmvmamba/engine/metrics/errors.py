"""Errors of wrong settings: ours by kind, and mmdet's for who waits for those."""

__all__ = ['MissingSettingError', 'UnknownNameError']


class UnknownNameError(ValueError, KeyError):
    """A name that is not known, for which mmdet raises ``KeyError``."""

    # A KeyError would put its message in quotes.
    __str__ = Exception.__str__


class MissingSettingError(ValueError, AssertionError):
    """A setting that another one needs, which mmdet asserts."""
