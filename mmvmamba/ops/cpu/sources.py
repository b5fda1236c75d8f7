"""What a kernel is compiled from, in a short name, so that code kept on disk is that of today."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

__all__ = ['sources_digest']

CONSTANTS = (bool, int, float, str, tuple)


def sources_digest(function: FunctionType) -> str:
    """Names the sources that a kernel takes in: numba itself looks at the kernel's own file alone.

    These are the files of its module, and of all modules with compiled functions that it imports,
    directly or through others, together with the constants that these modules have at this moment.
    """
    texts: dict[str, bytes] = {}
    facts: set[str] = set()
    pending: list[Any] = [function]
    while pending:
        inner = pending.pop()
        file = Path(inner.__code__.co_filename)
        if str(file) in texts:
            continue
        texts[str(file)] = file.read_bytes() if file.is_file() else inner.__code__.co_code
        facts |= _constants(inner.__globals__)
        pending += filter(None, map(_compiled_function, inner.__globals__.values()))
    digest = hashlib.sha256()
    for part in (*sorted(texts.values()), *(fact.encode() for fact in sorted(facts))):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def _constants(namespace: Mapping[str, Any]) -> set[str]:
    return {
        f'{name}={value!r}'
        for name, value in namespace.items()
        if isinstance(value, CONSTANTS) and not name.startswith('__')
    }


def _compiled_function(value: Any) -> FunctionType | None:
    """The Python function of what numba compiles or emits, None of anything else."""
    for name in ('py_func', '_defn'):
        function = getattr(value, name, None)
        if isinstance(function, FunctionType):
            return function
    return None
