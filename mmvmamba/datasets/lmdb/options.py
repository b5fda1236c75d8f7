"""How a database is built, and what came of it."""

from dataclasses import dataclass, field

from mmvmamba.cpus import usable_cpus

from .format import Header

__all__ = ['BuildOptions', 'BuildReport', 'default_workers']


def default_workers() -> int:
    """Reader processes that build fastest: one for each core beside the writer's, 8 at most."""
    return min(8, usable_cpus() - 1)


@dataclass(frozen=True)
class BuildOptions:
    """How a database is built.

    Args:
        workers: Reader processes; 0 reads in the writer's own process. By default one for each core
            that the writer leaves free, 8 at most.
        max_size: Images with a longer short edge are re-encoded to it; 0 stores every file as is.
        decode: Whether to decode each image fully, not just its header and end.
        batch_bytes: Bytes of one transaction.
        batch_images: Images of one transaction, at most.
        overwrite: Whether a database that is already there may be replaced.
        restart: Whether to throw an interrupted build away instead of going on with it.
        progress: Whether to show a progress bar.
    """

    workers: int = field(default_factory=default_workers)
    max_size: int = 0
    decode: bool = False
    batch_bytes: int = 16 << 20
    batch_images: int = 2000
    overwrite: bool = False
    restart: bool = False
    progress: bool = False


@dataclass(frozen=True)
class BuildReport:
    """What came of a build.

    Args:
        path: The database.
        header: Its header.
        skipped: Key and reason of each image that could not be read.
        resumed_at: Number of images that an earlier, interrupted run had done.
    """

    path: str
    header: Header
    skipped: list[tuple[str, str]] = field(default_factory=list)
    resumed_at: int = 0
