"""A runner whose checkpoints appear whole or not at all."""

import os
from pathlib import Path

from mmengine import runner as mmengine_runner
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.model import revert_sync_batchnorm
from torch import nn
from torch.utils.data import DataLoader

from mmvmamba.datasets.errors import SourceError

from .data_parallel import CPUDistributedDataParallel

__all__ = ['Runner', 'latest_checkpoint']

PART = '.part'
# What mmengine's data set ends with when it joins the samples of an empty split.
EMPTY = 'need at least one array to concatenate'


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

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args, **kwargs) -> DataLoader:
        """Builds as mmengine does; an empty split is named. Arguments as mmengine's."""
        try:
            return mmengine_runner.Runner.build_dataloader(dataloader, *args, **kwargs)
        except ValueError as error:
            if EMPTY not in str(error):
                raise
            dataset = dataloader['dataset']
            path = os.path.join(dataset.get('data_root') or '', dataset.get('ann_file') or '')
            raise SourceError(
                'the split is empty, or filter_cfg leaves nothing of it',
                path,
                '',
                'Name other data, or read them with tools/misc/check_dataset.py.',
            ) from error

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
