"""A runner that loses nothing and can be taken up at any step."""

import contextlib
import io
import os
from pathlib import Path

from mmengine import runner as mmengine_runner
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from torch import nn

from .checkpoint_files import replacing
from .data_parallel import CPUDistributedDataParallel
from .guarded_runner import GuardedRunner, end_if_log_is_lost
from .sync_batchnorm import sync_on_cpu

__all__ = ['Runner']


class Runner(GuardedRunner, mmengine_runner.Runner):
    """mmengine's runner, made to lose nothing.

    A checkpoint gets its name when it is complete; mmengine writes in place, so a process that is
    killed meanwhile leaves half a file under the name of a good one.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wraps as mmengine does, on the CPU too, where its own wrapping fails."""
        if self.distributed and model_wrapper_cfg is None and get_device() == 'cpu':
            find_unused = self.cfg.get('find_unused_parameters', False)
            model = sync_on_cpu(model, convert_all=self.cfg.get('sync_bn') is not None)
            model = CPUDistributedDataParallel(model, find_unused_parameters=find_unused)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Builds as mmengine does; a log that cannot be written ends the run."""
        logger = super().build_logger(*args, **kwargs)
        end_if_log_is_lost(logger)
        self.show_log(logger)
        return logger

    def load_checkpoint(self, *args, **kwargs) -> dict:
        """Loads as mmengine does, which prints what its log says as well. Arguments likewise."""
        with contextlib.redirect_stdout(io.StringIO()):
            return super().load_checkpoint(*args, **kwargs)

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Saves what all processes have, by the first of them; arguments as mmengine's."""
        self._rank_state.gather(self)
        self._save_whole(out_dir, filename, *args, **kwargs)

    @master_only
    def _save_whole(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Saves to a temporary name, then renames."""
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        os.makedirs(out_dir, exist_ok=True)
        with replacing(Path(out_dir, filename)) as part:
            super().save_checkpoint(out_dir, part.name, *args, **kwargs)
