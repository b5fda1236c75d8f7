"""The config of a training on a folder, written to its work dir."""

import argparse
import re
from pathlib import Path

from mmvmamba.cli.errors import UserError

from .found import Settings
from .layouts import recognise
from .model_choice import choose_model

__all__ = ['write_config']


def write_config(args: argparse.Namespace) -> str:
    """Writes the config of a training on a folder to its work dir.

    Args:
        args: Those of ``mmvmamba train`` with ``--data``.

    Returns:
        The config's path.

    Raises:
        UserError: The folder or the model does not do.
    """
    found = recognise(args.data)
    entry = choose_model(args.model, found)
    name = re.sub(r'\W+', '_', f'{entry.name}_{found.root.name}')
    work_dir = Path(args.work_dir or Path('work_dirs', name))
    path = work_dir / 'config' / f'{name}.py'
    text = found.config(Settings(entry, path, args.epochs, args.weights))
    if path.exists() and path.read_text() != text:
        raise UserError(
            f'{path} is there and differs; mmvmamba train {path} runs it as it is, or name another '
            '--work-dir'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, content in found.files.items():
        path.with_name(file).write_text(content)
    path.write_text(text)
    print(f'data     {found}')
    print(f'config   {path}')
    args.work_dir = str(work_dir)
    return str(path)
