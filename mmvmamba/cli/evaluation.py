"""What ``--eval``, ``--tta``, ``--out``, ``--format-only`` and ``--show-dir`` do to a config."""

import difflib
import hashlib
import os
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmvmamba.engine.metrics.coco_figures import FIGURES
from mmvmamba.files import digest_of

from .config_keys import walk
from .configs import task_of
from .errors import UserError

__all__ = [
    'fit_topk',
    'format_table',
    'metrics_for',
    'set_all_figures',
    'set_classwise',
    'set_format_only',
    'set_metrics',
    'set_out_file',
    'set_results',
    'set_show_dir',
    'set_tta',
]

EVALUATORS = {
    'detection': ('CocoMetric',),
    'segmentation': ('IoUMetric',),
    'classification': ('Accuracy', 'SingleLabelMetric'),
}
SINGLE_LABEL_ITEMS = ('precision', 'recall', 'f1-score')


def metrics_for(cfg: Config) -> tuple[str, ...]:
    """Lists the metrics that ``--eval`` takes for this config."""
    task = task_of(cfg)
    if task == 'segmentation':
        return ('mIoU', 'mDice', 'mFscore')
    if task == 'classification':
        return ('accuracy', *SINGLE_LABEL_ITEMS)
    has_masks = any('mask_head' in node for _, node in walk(cfg.model))
    return ('bbox', 'segm', 'proposal') if has_masks else ('bbox', 'proposal')


def set_metrics(cfg: Config, metrics: list[str], topk: list[int] | None = None) -> None:
    """Makes the test evaluator compute exactly ``metrics``.

    Args:
        cfg: The config, changed in place.
        metrics: Names out of ``metrics_for(cfg)``.
        topk: For 'accuracy', the k's; default: the config's own.

    Raises:
        UserError: For a metric that does not fit or is misspelt, with the list of those that fit.
    """
    task = task_of(cfg)
    known = metrics_for(cfg)
    for name in metrics:
        if name not in known:
            close = difflib.get_close_matches(name.lower(), [item.lower() for item in known], n=1)
            meant = [item for item in known if close and item.lower() == close[0]]
            hint = f' (did you mean {meant[0]!r}?)' if meant else ''
            raise UserError(
                f'metric {name!r} does not fit this {task} config{hint}; '
                f'those that fit: {", ".join(known)}'
            )
    if task == 'classification':
        _set_classification(cfg, metrics, topk)
        return
    key = 'metric' if task == 'detection' else 'iou_metrics'
    for evaluator in _evaluators(cfg, task):
        evaluator[key] = list(metrics)


def _evaluators(cfg: Config, task: str) -> list[dict]:
    evaluators = cfg.get('test_evaluator') or []
    evaluators = evaluators if isinstance(evaluators, list | tuple) else [evaluators]
    found = [item for item in evaluators if item['type'].rpartition('.')[2] in EVALUATORS[task]]
    if not found:
        raise UserError(
            f'test_evaluator of the config must hold one of {", ".join(EVALUATORS[task])} '
            f'for a {task} task'
        )
    return found


def _set_classification(cfg: Config, metrics: list[str], topk: list[int] | None) -> None:
    own = [e for e in _evaluators(cfg, 'classification') if 'topk' in e]
    evaluators = []
    if 'accuracy' in metrics:
        ks = tuple(topk) if topk else own[0]['topk'] if own else (1, 5)
        evaluators.append(dict(type='Accuracy', topk=ks))
    items = tuple(name for name in metrics if name in SINGLE_LABEL_ITEMS)
    if items:
        evaluators.append(dict(type='SingleLabelMetric', items=items))
    cfg.test_evaluator = evaluators


def fit_topk(cfg: Config, evaluator: str, asked: list[int] | None = None) -> None:
    """Leaves out accuracies among more classes than the model has, and says so.

    The recipes of ImageNet count the best five, which a set of three classes does not have.

    Args:
        cfg: The config, changed in place.
        evaluator: 'val_evaluator' or 'test_evaluator'.
        asked: The k's that the user asked for; they are not left out.

    Raises:
        UserError: The user asked for one, or none remains.
    """
    counts = [node['num_classes'] for _, node in walk(cfg.model) if 'num_classes' in node]
    if task_of(cfg) != 'classification' or not counts:
        return
    limit = f'at most {counts[-1]}, the number of classes of the model, got'
    if asked and max(asked) > counts[-1]:
        raise UserError(f'--topk must be {limit} {max(asked)}')
    for key, node in walk(cfg.get(evaluator), evaluator):
        topk = node.get('topk', ())
        topk = (topk,) if isinstance(topk, int) else tuple(topk)
        kept = tuple(k for k in topk if k <= counts[-1])
        if topk and not kept:
            raise UserError(f'{key}.topk must be {limit} {min(topk)}')
        if kept != topk:
            left_out = ', '.join(f'top-{k}' for k in topk if k not in kept)
            print_log(f'{key}: {left_out} is left out, the model has {counts[-1]} classes')
            node['topk'] = kept


def set_classwise(cfg: Config) -> None:
    """Has the average precision of each class logged and returned as well.

    Raises:
        UserError: If the config is not one of detection.
    """
    if task_of(cfg) != 'detection':
        raise UserError('--classwise is for detection; segmentation lists the classes anyway')
    for evaluator in _evaluators(cfg, 'detection'):
        evaluator['classwise'] = True


def set_all_figures(cfg: Config) -> None:
    """Has a detector's test return all figures of COCO, unless the config says which.

    Proposals are judged by the recalls alone.
    """
    if task_of(cfg) != 'detection':
        return
    for _, node in walk(cfg.get('test_evaluator'), 'test_evaluator'):
        is_coco = str(node.get('type', '')).rpartition('.')[2] in EVALUATORS['detection']
        if is_coco and not {'proposal', 'proposal_fast'} & set(_listed(node.get('metric', 'bbox'))):
            node.setdefault('metric_items', list(FIGURES))


def _listed(value: str | list) -> list:
    return [value] if isinstance(value, str) else list(value)


def set_tta(cfg: Config) -> None:
    """Wraps the model and the data in the config's test-time augmentation.

    Raises:
        UserError: If the config describes none, or masks are to be evaluated, which mmdet cannot
            merge.
    """
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        raise UserError('--tta needs tta_model and tta_pipeline in the config, and it has none')
    if task_of(cfg) == 'detection':
        for evaluator in _evaluators(cfg, 'detection'):
            if 'segm' in evaluator['metric']:
                raise UserError('--tta merges boxes only; ask for --eval bbox')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def set_out_file(cfg: Config, path: str) -> None:
    """Has all predictions written to one file: as JSON with the truth, or pickled by the toolbox.

    Raises:
        UserError: If the name has another ending, or the task does not go with it.
    """
    task = task_of(cfg)
    if path.endswith('.json'):
        if task == 'segmentation':
            raise UserError('--out FILE.json is for classification and detection; use FILE.pkl')
        writer = dict(type='mmvmamba.ResultFile', path=path)
    elif path.endswith(('.pkl', '.pickle')):
        dump = 'DumpDetResults' if task == 'detection' else 'DumpResults'
        writer = dict(type=dump, out_file_path=path)
    else:
        raise UserError(f'--out must end in .json, .pkl or .pickle, got {path}')
    own = cfg.test_evaluator
    own = list(own) if isinstance(own, list | tuple) else [own]
    cfg.test_evaluator = [*own, writer]


def set_results(cfg: Config, path: str) -> None:
    """Has what the metrics keep of each image written to a file, with which a test goes on.

    Args:
        cfg: The config, changed in place; its other settings are those of the test.
        path: The file.

    Raises:
        UserError: The model is spread over processes, which then cannot go each its own way.
    """
    strategy = str((cfg.get('strategy') or {}).get('type', ''))
    if 'FSDP' in strategy:
        raise UserError(
            f'--results has each process test its share alone, and {strategy} needs all of them '
            'for each image: take a config without a strategy, which loads the same checkpoint'
        )
    checkpoint = cfg.load_from
    said = {key: cfg.get(key) for key in ('model', 'test_dataloader', 'test_evaluator')}
    origin = dict(
        checkpoint=digest_of(checkpoint) if os.path.isfile(checkpoint) else checkpoint,
        config=hashlib.sha256(Config(said).pretty_text.encode()).hexdigest(),
    )
    cfg.test_cfg = dict(
        type='mmvmamba.SharedTestLoop',
        results=path,
        origin=origin,
        fp16=(cfg.get('test_cfg') or {}).get('fp16', False),
    )


def set_format_only(cfg: Config, prefix: str) -> None:
    """Has predictions written in the data set's own submission format, without evaluating them.

    Args:
        cfg: The config, changed in place.
        prefix: Detection: start of the json files' names. Segmentation: folder for the label
            images.

    Raises:
        UserError: For classification, which has no such format.
    """
    task = task_of(cfg)
    if task == 'classification':
        raise UserError('--format-only is for detection and segmentation; use --out FILE.pkl')
    key = 'outfile_prefix' if task == 'detection' else 'output_dir'
    for evaluator in _evaluators(cfg, task):
        evaluator['format_only'] = True
        evaluator[key] = prefix


def set_show_dir(
    cfg: Config, folder: str, limit: int | None = None, opacity: float | None = None
) -> None:
    """Has pictures of the predictions written to a folder.

    Args:
        cfg: The config, changed in place.
        folder: Where to.
        limit: How many pictures at most; default: all.
        opacity: Of the colours of a segmentation, 0 to 1; default: the hook's.
    """
    hook: dict[str, Any] = dict(type='mmvmamba.PredictionPicturesHook', out_dir=folder, limit=limit)
    if opacity is not None:
        hook['opacity'] = opacity
    hooks = [*(cfg.get('custom_hooks') or []), hook]
    cfg.custom_hooks = hooks


def format_table(metrics: dict[str, float]) -> str:
    """Lays a runner's metrics out as a table of two columns."""
    rows = [(name, _text(name, value)) for name, value in metrics.items()]
    left = max([len('metric'), *(len(name) for name, _ in rows)])
    right = max([len('value'), *(len(value) for _, value in rows)])
    rule = f'+-{"-" * left}-+-{"-" * right}-+'
    lines = [
        f'| {name:<{left}} | {value:>{right}} |' for name, value in [('metric', 'value'), *rows]
    ]
    return '\n'.join([rule, lines[0], rule, *lines[1:], rule])


def _text(name: str, value: float) -> str:
    """A figure; COCO's -1 says that there is nothing of that size."""
    if name.startswith('coco/') and value == -1:
        return '-'
    return f'{value:.4f}' if isinstance(value, float) else str(value)
