"""mmengine's runner with strategies, made to lose nothing."""

import os
from pathlib import Path

from mmengine import runner as mmengine_runner
from mmengine._strategy import BaseStrategy
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook

from mmvmamba.registry import RUNNERS, STRATEGIES

from .checkpoint_files import replacing
from .guarded_runner import GuardedRunner, end_if_log_is_lost

__all__ = ['FlexibleRunner']


@RUNNERS.register_module()
class FlexibleRunner(GuardedRunner, mmengine_runner.FlexibleRunner):
    """mmengine's ``FlexibleRunner`` with the strategies of mmvmamba, made to lose nothing.

    Checkpoints are those of `Runner`, whatever the strategy: a file of whole tensors, which gets
    its name when it is complete. Loading is as strict, and a resumed run as exact. mmengine's own
    strategies write folders for one number of processes.
    """

    def build_strategy(
        self, strategy: BaseStrategy | dict | None = None, *args, **kwargs
    ) -> BaseStrategy:
        """Builds as mmengine does.

        Raises:
            ValueError: If the strategy is none of mmvmamba's.
        """
        if strategy is None:
            strategy = dict(type='mmvmamba.DDPStrategy')
        if isinstance(strategy, dict):
            _refuse_foreign(STRATEGIES.get(strategy['type']))
            # Where the configs of `Runner` have them; mmengine passes over them.
            for name in ('sync_bn', 'find_unused_parameters'):
                if self.cfg.get(name):
                    strategy.setdefault(name, self.cfg[name])
        built = super().build_strategy(strategy, *args, **kwargs)
        _refuse_foreign(type(built))
        end_if_log_is_lost(built.logger)
        self.show_log(built.logger)
        return built

    def register_hooks(
        self, default_hooks: dict | None = None, custom_hooks: list | None = None
    ) -> None:
        """Registers as `GuardedRunner` does.

        Raises:
            ValueError: If a hook averages weights of which each process has a part only.
        """
        super().register_hooks(default_hooks, custom_hooks)
        averaging = [type(hook).__name__ for hook in self.hooks if isinstance(hook, EMAHook)]
        if averaging and self.strategy.shards_weights:
            raise ValueError(
                f'{averaging[0]} copies the model, which {type(self.strategy).__name__} spreads '
                'over the processes; take DDPStrategy, or leave the hook out'
            )

    def save_checkpoint(
        self, out_dir: str, filename: str, *args, save_optimizer: bool = True, **kwargs
    ) -> None:
        """Saves what all processes have, by the first of them; arguments as mmengine's."""
        self._rank_state.gather(self)
        self.strategy.collect(save_optimizer)
        if not is_main_process():
            return
        kwargs['save_optimizer'] = save_optimizer
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        os.makedirs(out_dir, exist_ok=True)
        with replacing(Path(out_dir, filename)) as part:
            super().save_checkpoint(out_dir, part.name, *args, **kwargs)


def _refuse_foreign(kind: type | None) -> None:
    if kind is not None and not hasattr(kind, 'collect'):
        raise ValueError(
            "strategy must be one of mmvmamba's, such as those of configs/_base_/strategies/, "
            f"got mmengine's {kind.__name__}; write mmvmamba.{kind.__name__}"
        )
