"""Names that were misspelt."""

import difflib
from collections.abc import Iterable

__all__ = ['near_names']


def near_names(name: str, names: Iterable[str]) -> str:
    """A clause with the nearest of some names, to end a message with; empty if none is near."""
    near = difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=0.5)
    return f'; did you mean {" or ".join(near)}?' if near else ''
