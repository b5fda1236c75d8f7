"""The error that everything about checkpoints ends in."""

__all__ = ['CheckpointError', 'UnsafeContentError', 'printable']

_LONGEST = 4000


class CheckpointError(ValueError):
    """A file that cannot be used as a checkpoint, or one that does not fit the model.

    The message is one line, whatever names the file gave to its keys.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UnsafeContentError(CheckpointError):
    """A file with objects that are not read safely; it may be whole all the same."""


def printable(text: str) -> str:
    """A text with its control characters, line ends and halves of characters spelled out."""
    text = text if len(text) <= _LONGEST else f'{text[:_LONGEST]} …'
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
