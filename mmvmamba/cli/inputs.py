"""Images and videos that a user names: by file, by folder, by pattern."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError

__all__ = ['IMAGES', 'VIDEOS', 'Input', 'find_inputs']

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')


@dataclass(frozen=True)
class Input:
    """An image or a video.

    Args:
        path: The file.
        name: What the files made of it are called, without a suffix; no two inputs share it.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether the file's name is that of a video."""
        return self.path.suffix.lower() in VIDEOS


def find_inputs(named: Sequence[str]) -> list[Input]:
    """Lists the files that are meant, each once, in the order in which they are named.

    Args:
        named: Files; folders, which are gone through to their depth; and patterns such as
            ``'photos/**/*.jpg'``.

    Raises:
        UserError: Naming what is not there, or the folder without images.
    """
    files: dict[Path, str] = {}
    for name in named:
        for path, stem in _expand(name):
            files.setdefault(path, stem)
    taken: set[str] = set()
    inputs = []
    for path, stem in files.items():
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f'{stem}-{number}'
        taken.add(name)
        inputs.append(Input(path, name))
    return inputs


def _expand(name: str) -> list[tuple[Path, str]]:
    """The files behind one argument, with the names of what is made of them."""
    path = Path(name)
    if path.is_file():
        return [(path, path.stem)]
    if path.is_dir():
        found = sorted(file for file in path.rglob('*') if _is_shown(file))
        if not found:
            raise UserError(
                f'folder {name} holds no image or video; their names end in '
                f'{", ".join((*IMAGES, *VIDEOS))}'
            )
        return [(file, str(file.relative_to(path).with_suffix(''))) for file in found]
    if glob.has_magic(name):
        matches = sorted(map(Path, glob.glob(name, recursive=True)))
        found = [match for match in matches if match.is_file()]
        if not found:
            raise UserError(f'no file matches {name!r}')
        return [(match, match.stem) for match in found]
    raise UserError(f'there is no image, video or folder {name}')


def _is_shown(file: Path) -> bool:
    return file.suffix.lower() in (*IMAGES, *VIDEOS) and file.is_file()
