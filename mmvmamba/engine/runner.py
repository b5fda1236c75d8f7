"""A runner whose checkpoints appear whole or not at all."""

import os
from pathlib import Path

from mmengine import runner as mmengine_runner
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.model import revert_sync_batchnorm
from torch import nn

from .data_parallel import CPUDistributedDataParallel

__all__ = ['Runner', 'latest_checkpoint']

PART = '.part'


class Runner(mmengine_runner.Runner):
    """mmengine's runner, except that a checkpoint gets its name when it is complete.

    mmengine writes in place, so a process that is killed meanwhile leaves half a file under the
    name of a good one.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps as mmengine does, on the CPU too, where its own wrapping fails."""
        if self.distributed and model_wrapper_cfg is None and get_device() == 'cpu':
            find_unused = self.cfg.get('find_unused_parameters', False)
            # SyncBN has no CPU kernel; each process then normalises by its own batch.
            model = revert_sync_batchnorm(model)
            model = CPUDistributedDataParallel(model, find_unused_parameters=find_unused)
        return super().wrap_model(model_wrapper_cfg, model)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Saves to a temporary name, then renames; arguments as mmengine's."""
        if '://' in str(out_dir) or not os.path.isdir(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        super().save_checkpoint(out_dir, filename + PART, *args, **kwargs)
        os.replace(os.path.join(out_dir, filename + PART), os.path.join(out_dir, filename))


def latest_checkpoint(work_dir: str) -> str | None:
    """Finds the checkpoint to resume from.

    The file ``last_checkpoint`` decides. A process that is killed may leave it empty or naming a
    checkpoint that was deleted; then the newest checkpoint counts.

    Args:
        work_dir: Folder that holds ``epoch_*.pth`` or ``iter_*.pth``.

    Returns:
        Its path, or None if there is none.
    """
    note = Path(work_dir) / 'last_checkpoint'
    if note.is_file():
        named = Path(work_dir) / Path(note.read_text().strip()).name
        if named.is_file():
            return str(named)
    found = [
        (path.stat().st_mtime_ns, str(path))
        for path in Path(work_dir).glob('*.pth')
        if path.stem.startswith(('epoch_', 'iter_'))
    ]
    return max(found)[1] if found else None
