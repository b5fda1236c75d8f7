"""What makes a runner lose nothing and lets it be taken up at any step."""

import logging
import os
import sys
from functools import partial
from typing import Any

from mmengine import runner as mmengine_runner
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from mmengine.runner import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from mmvmamba.datasets.checked_loading import check_loading
from mmvmamba.datasets.checks.faults import LOADING_ERRORS, leaves, loading_problem
from mmvmamba.datasets.errors import DataError, SourceError

from .checkpoint_files import remove_parts
from .hooks.step_seed import StepSeedHook
from .hooks.strict_loading import StrictLoadingHook
from .loops import exact_loop
from .rank_state import RankStateHook
from .run_errors import run_errors
from .shared_memory import guard_shared_memory
from .stop_signal import StopSignalHook

__all__ = ['GuardedRunner', 'end_if_log_is_lost']

# One of mmengine's runners follows among the bases of a class.
_Base: Any = object

REMEDY = 'Name other data, or read them with `mmvmamba data check CONFIG`.'


def _raise_log_error(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    error = sys.exc_info()[1]
    if isinstance(error, OSError):
        error.filename = error.filename or handler.baseFilename
    # Logging asks while it handles the error.
    raise


def end_if_log_is_lost(logger: MMLogger) -> None:
    """Has a log that cannot be written end the run.

    Python prints a traceback for each line that is lost, and goes on.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            # Of this handler alone, which mmengine builds of a class of its own.
            handler.handleError = partial(_raise_log_error, handler)  # type: ignore[method-assign]


class GuardedRunner(_Base):
    """What makes a runner of mmengine lose nothing, to be put before it among the bases.

    A request to stop ends in a checkpoint, a fault from outside in a sentence, and a resumed run
    goes on with its next batch.
    """

    # What shows the log on the terminal instead of mmengine's handler, which shows all of it.
    terminal_handler: logging.Handler | None = None

    def show_log(self, logger: MMLogger) -> None:
        """Has a log shown on the terminal by ``terminal_handler``, if there is one."""
        if self.terminal_handler is not None:
            # mmengine puts the terminal first.
            logger.handlers[0] = self.terminal_handler

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Builds as mmengine does, with loops that can be taken up at any step."""
        return super().build_train_loop(exact_loop(loop))

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args, **kwargs) -> DataLoader:
        """Builds as mmengine does, for images that are checked when they are loaded.

        Arguments are mmengine's.

        Raises:
            DataError: The split is empty, or its lists and folders cannot be read.
        """
        try:
            loader = mmengine_runner.Runner.build_dataloader(dataloader, *args, **kwargs)
        except DataError:
            raise
        except LOADING_ERRORS as error:
            nodes = [] if isinstance(dataloader, DataLoader) else leaves(dataloader['dataset'])
            for node in nodes:
                problem = loading_problem(DATASETS.build({**node, 'lazy_init': True}))
                if problem:
                    path = os.path.join(node.get('data_root') or '', node.get('ann_file') or '')
                    raise SourceError(problem, path=path, remedy=REMEDY) from error
            raise
        check_loading(loader.dataset)
        guard_shared_memory(loader)
        return loader

    def register_hooks(
        self, default_hooks: dict | None = None, custom_hooks: list | None = None
    ) -> None:
        """Registers as mmengine does, and what keeps a run exact and ends it on request."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(
            StrictLoadingHook(
                source=self._load_from or f'the latest checkpoint of {self.work_dir}',
                resume=self._resume,
                allow_partial=self.cfg.get('allow_partial', False),
            )
        )
        if not any(isinstance(hook, StepSeedHook) for hook in self.hooks):
            self.register_hook(StepSeedHook())
        self._rank_state = RankStateHook()
        self.register_hook(self._rank_state)
        self._stop_signal = StopSignalHook()
        self.register_hook(self._stop_signal)

    def train(self) -> nn.Module:
        """Trains as mmengine does, after removing what killed runs did not finish writing."""
        if is_main_process():
            remove_parts(self.work_dir)
        # torch raises that a worker died amid any line of Python, the first's way out included.
        errors = run_errors(self.work_dir), run_errors(self.work_dir)
        with errors[0], errors[1], self._stop_signal.listening():
            return super().train()

    def test(self) -> dict:
        """Tests as mmengine does."""
        with run_errors(self.work_dir):
            return super().test()

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """Builds as mmengine does; processes exchange results in the folder of the log.

        mmengine does so in the current folder, and leaves ``.dist_test`` there.
        """
        built = super().build_evaluator(evaluator)
        for metric in built.metrics:
            if metric.collect_device == 'cpu' and metric.collect_dir is None:
                metric.collect_dir = os.path.join(self.log_dir, 'results')
        return built
