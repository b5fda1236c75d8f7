"""Checks of the data sets that a config names, before a run or on their own."""

from collections.abc import Callable

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmvmamba.datasets.checks.faults import Fault, leaves

from .config_keys import walk
from .configs import task_of
from .errors import UserError

__all__ = ['SPLITS', 'check_pairs', 'check_split', 'splits_of']

SPLITS = ('train', 'val', 'test')


def splits_of(cfg: Config) -> list[str]:
    """Names the splits that a config has data for, without those that repeat an earlier one."""
    found: dict[str, dict] = {}
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        if loader is not None and loader.dataset not in found.values():
            found[split] = loader.dataset
    return list(found)


def check_split(cfg: Config, split: str, workers: int = 0, progress: bool = False) -> list[Fault]:
    """Reads all data of one split.

    Args:
        cfg: The config.
        split: One of ``SPLITS``.
        workers: How many threads or processes read; 0 for none.
        progress: Whether to show a progress bar.

    Returns:
        All faults, and notes on what training leaves out.

    Raises:
        UserError: If the config has no such split.
    """
    task = task_of(cfg)
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        raise UserError(f'the config has data for {", ".join(splits_of(cfg))}, not for {split}')
    check = _check_function(task)
    return [
        fault
        for node in leaves(loader.dataset)
        for fault in check(_build(cfg, node), _num_classes(cfg), workers, progress)
    ]


def check_pairs(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Refuses segmentation data with images that have no mask, or the reverse, or no images.

    Args:
        cfg: The config.
        loaders: Which of its data loaders will be used, such as 'train_dataloader'.

    Raises:
        UserError: Naming the first file.
    """
    if task_of(cfg) != 'segmentation':
        return
    from mmvmamba.datasets.checks.segmentation import find_unpaired

    for loader in loaders:
        for node in leaves(cfg[loader].dataset) if cfg.get(loader) else ():
            faults = find_unpaired(_build(cfg, node))
            if faults:
                more = f' (and {len(faults) - 1} more faults)' if len(faults) > 1 else ''
                raise UserError(
                    f'{loader}: {faults[0]}{more}; mmvmamba data check {cfg.filename} lists all'
                )


def _check_function(task: str) -> Callable[..., list[Fault]]:
    # Each of these modules imports its task's toolbox.
    if task == 'segmentation':
        from mmvmamba.datasets.checks.segmentation import check_segmentation as check
    elif task == 'detection':
        from mmvmamba.datasets.checks.detection import check_detection as check
    else:
        from mmvmamba.datasets.checks.classification import check_classification as check
    return check


def _build(cfg: Config, node: dict) -> object:
    init_default_scope(cfg.default_scope)
    return DATASETS.build({**node, 'lazy_init': True})


def _num_classes(cfg: Config) -> int:
    """The number of classes of the model's last head."""
    found = [node['num_classes'] for _, node in walk(cfg.model) if 'num_classes' in node]
    if not found:
        raise UserError('the model of the config must say num_classes for its data to be checked')
    return found[-1]
