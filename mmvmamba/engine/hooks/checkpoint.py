from mmengine import hooks as mmengine_hooks
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmvmamba.engine.checkpoint_files import remove_stopped, write_note
from mmvmamba.registry import HOOKS

__all__ = ['CheckpointHook']


@HOOKS.register_module()
class CheckpointHook(mmengine_hooks.CheckpointHook):
    """mmengine's hook, except that an old checkpoint goes only once the new one is on the disk.

    mmengine deletes first, so that a kill or a full disk in between costs both; and it writes
    ``last_checkpoint`` in place. Arguments as mmengine's.
    """

    # mmengine's attributes, whose types cannot be inferred.
    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str | None, str | None]

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        outdated = self._keep(runner, step)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_note(runner.work_dir, self.last_ckpt)
            remove_stopped(runner.work_dir, runner.iter + 1)
            for old in outdated:
                self._remove(self.file_backend.join_path(self.out_dir, old))

    def _keep(self, runner: Runner, step: int) -> list[str]:
        """Counts a checkpoint among those kept; returns the names of those that are too many."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        steps = [*self.keep_ckpt_ids, step]
        # With the outdated ones: a run that is killed before it deletes them does so when resumed.
        runner.message_hub.update_info('keep_ckpt_ids', steps)
        self.keep_ckpt_ids.append(step)
        return [self.filename_tmpl.format(old) for old in steps[: -self.max_keep_ckpts]]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        old = self._exchange_best({})
        super()._save_best_checkpoint(runner, metrics)
        new = {key: path for key, path in self._exchange_best({}).items() if path}
        self._exchange_best({**old, **new})
        if is_main_process():
            for key, path in new.items():
                outdated = old.get(key)
                if outdated is not None and outdated != path:
                    self._remove(outdated)

    def _exchange_best(self, paths: dict[str | None, str | None]) -> dict[str | None, str | None]:
        """Sets the paths of the best checkpoints by metric and returns those set before."""
        if len(self.key_indicators) == 1:
            only, self.best_ckpt_path = self.best_ckpt_path, paths.get(None)
            return {None: only}
        before = self.best_ckpt_path_dict
        self.best_ckpt_path_dict = {key: paths.get(key) for key in self.key_indicators}
        return before

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            # DeepSpeed's checkpoints are folders.
            self.file_backend.rmtree(path)
