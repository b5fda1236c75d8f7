"""Puts our backbones into the configs shipped with mmdetection and mmsegmentation, and runs a step.

Of each folder of configs, the one with the shortest name is built with a small backbone of ours in
the place of its own; it gives losses and gradients on random data, and predictions. Channels of
necks and heads are those of the backbone, nothing else is changed. Where that fails, the config is
tried with its own backbone.

Exit codes: 0 all pairs run, 1 some do not, 2 bad input.
"""

import mmvmamba  # noqa: F401  isort: skip  provides the stand-ins before mmcv's operators are imported

import argparse
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope

from mmvmamba.apis.metafiles import config_root
from mmvmamba.cli.errors import UserError, user_errors

PACKAGES = ('mmdet', 'mmseg')
# Parts that take what a head has made: their channels are not those of a backbone.
BEHIND_HEADS = ('kernel_update_head',)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Example: python tools/misc/try_pairs.py mmdet --only atss --families vim mila',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('packages', nargs='*', help=f'default: {" ".join(PACKAGES)}')
    parser.add_argument('--only', nargs='+', help='folders of configs (default: all)')
    parser.add_argument(
        '--families', nargs='+', default=['mambaout'], help='those of configs/toy (mambaout)'
    )
    parser.add_argument(
        '--size', type=int, default=128, help='side of the images (128; DINO wants 256)'
    )
    return parser.parse_args(argv)


def backbone_of(family: str) -> ConfigDict:
    """The backbone of the family's toy detector."""
    path = config_root() / 'toy' / f'det_{family}_maskrcnn.py'
    if not path.is_file():
        raise UserError(f'there is no {path}, which has the backbone of {family!r}')
    return Config.fromfile(path).model.backbone


def one_of_each_folder(package: str, only: list[str] | None) -> Iterator[tuple[Path, Config]]:
    """The configs with a backbone, the one with the shortest name of each folder."""
    root = Path(str(importlib.import_module(package).__file__)).parent / '.mim' / 'configs'
    absent = [name for name in only or () if not (root / name).is_dir()]
    if absent:
        raise UserError(f'{root} has no folders {absent}')
    for folder in sorted(root.iterdir()):
        if folder.name == '_base_' or (only and folder.name not in only):
            continue
        for path in sorted(folder.glob('*.py'), key=lambda path: (len(path.name), path.name)):
            try:
                cfg = Config.fromfile(path)
            except Exception:  # noqa: BLE001  their configs, whatever is wrong with them
                continue
            if 'model' in cfg and 'backbone' in detector_of(cfg.model):
                yield path, cfg
                break


def detector_of(model: ConfigDict) -> ConfigDict:
    """The model that has the backbone, inside of trackers and semi-supervised ones too."""
    return model.detector if 'detector' in model and 'backbone' in model.detector else model


def channels_of(backbone: torch.nn.Module, size: int) -> list[int]:
    backbone.eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, size, size))
    return [level.size(1) for level in (maps if isinstance(maps, list | tuple) else [maps])]


def fit(model: ConfigDict, ours: ConfigDict, size: int) -> None:
    """Puts a backbone into a model, as many levels as that of the config has, the last ones."""
    outer, model = model, detector_of(model)
    theirs = dict(model.backbone, init_cfg=None)
    theirs.pop('pretrained', None)
    if 'img_size' in theirs:
        theirs['img_size'] = (size, size)
    before = channels_of(MODELS.build(ConfigDict(theirs)), size)
    first = max(4 - len(before), 0)
    backbone = ConfigDict(ours, out_indices=tuple(range(first, 4)))
    after = channels_of(MODELS.build(backbone), size)
    if len(before) > len(after):
        raise ValueError(f'their backbone has {len(before)} maps, ours {len(after)}')
    model.backbone = backbone
    for part in (outer, model):
        for key in ('pretrained', 'init_cfg'):
            part.pop(key, None)
    neck = model.get('neck')
    if neck:
        # Of several in a row the first alone meets the backbone.
        replace_channels(neck[0] if isinstance(neck, list) else neck, before, after)
    else:
        replace_channels({k: v for k, v in model.items() if k != 'backbone'}, before, after)


def replace_channels(node: Any, before: list[int], after: list[int]) -> None:
    """Numbers of input channels that are those of the old backbone, at any depth."""
    if isinstance(node, list | tuple):
        for value in node:
            replace_channels(value, before, after)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in BEHIND_HEADS:
            continue
        if not key.endswith('in_channels'):
            replace_channels(value, before, after)
        elif isinstance(value, int) and value in before:
            level = node.get('in_index')
            node[key] = after[level] if isinstance(level, int) else renewed(value, before, after)
        elif isinstance(value, list | tuple) and list(value) == before:
            node[key] = type(value)(after)
        elif isinstance(value, list | tuple) and all(number in before for number in value):
            node[key] = type(value)(renewed(number, before, after) for number in value)
    if node.get('num_convs') == 0 and {'in_channels', 'channels'} <= node.keys():
        # Such a head of mmseg hands on what it gets.
        node['channels'] = node['in_channels']


def renewed(channels: int, before: list[int], after: list[int]) -> int:
    """What the one level of so many channels has now."""
    found = {new for old, new in zip(before, after, strict=True) if old == channels}
    if len(found) > 1:
        raise ValueError(f'levels of {before} channels cannot become {after} by their numbers')
    return found.pop()


def run(cfg: Config, package: str, family: str | None, size: int) -> None:
    """Builds a pair, trains it for a step without an update, and predicts.

    Without a family the config keeps its backbone.

    Raises:
        Exception: Whatever goes wrong.
    """
    init_default_scope(package)
    # What a runner says before the first step.
    for name in ('epoch', 'iter'):
        MessageHub.get_current_instance().update_info(name, 0)
    model = cfg.model
    if family is not None:
        fit(model, backbone_of(family), size)
    # As in every run of one process.
    built = revert_sync_batchnorm(MODELS.build(model))
    detects = package == 'mmdet'
    batch = detection_batch(cfg, size) if detects else segmentation_batch(built, size)
    built.train()
    losses = built(**built.data_preprocessor(batch, True), mode='loss')
    total, _ = built.parse_losses(losses)
    total.backward()
    if not torch.isfinite(total):
        raise ValueError(f'the losses are not finite: {losses}')
    grads = [p.grad for p in detector_of_module(built).backbone.parameters() if p.requires_grad]
    if all(grad is None for grad in grads):
        raise ValueError('nothing of the backbone gets a gradient')
    built.eval()
    # mmcv's masked convolution takes one image at a time.
    batch = {key: values[:1] for key, values in batch.items()}
    with torch.no_grad():
        built(**built.data_preprocessor(batch, False), mode='predict')


def detector_of_module(model: torch.nn.Module) -> torch.nn.Module:
    return model.detector if hasattr(model, 'detector') else model


def detection_batch(cfg: Config, size: int) -> dict:
    from mmdet.testing import demo_mm_inputs, demo_mm_proposals

    shapes = [[3, size, size]] * 2
    batch = demo_mm_inputs(
        2,
        shapes,
        num_items=[4, 3],
        num_classes=2,
        with_mask=wants_masks(cfg),
        with_semantic=True,
        sem_seg_output_strides=8,
    )
    # Others would take them in place of their own.
    if detector_of(cfg.model).type == 'FastRCNN':
        proposals = demo_mm_proposals(shapes, num_proposals=20)
        for sample, boxes in zip(batch['data_samples'], proposals, strict=True):
            sample.proposals = boxes
    return batch


def wants_masks(cfg: Config) -> bool:
    """Whether the config trains with masks; RTMDet takes none that it did not ask for."""
    steps = cfg.get('train_pipeline')
    return steps is None or any(step.get('with_mask') or 'Panop' in step.type for step in steps)


def segmentation_batch(model: torch.nn.Module, size: int) -> dict:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(0)
    heads = model.decode_head
    classes = (heads[-1] if isinstance(heads, torch.nn.ModuleList) else heads).num_classes
    samples = []
    for _ in range(2):
        labels = torch.randint(0, max(classes, 2), (1, size, size), generator=generator)
        meta = dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), (size, size))
        meta |= dict(flip=False, flip_direction='horizontal', img_path='', scale_factor=1.0)
        edges = PixelData(data=labels % 2)
        samples.append(
            SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels), gt_edge_map=edges)
        )
    images = [torch.randint(0, 255, (3, size, size), generator=generator) for _ in range(2)]
    return dict(inputs=images, data_samples=samples)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    failed = 0
    with user_errors():
        unknown = set(args.packages) - set(PACKAGES)
        if unknown:
            raise UserError(f'packages must be among {list(PACKAGES)}, got {sorted(unknown)}')
        for family in args.families:
            backbone_of(family)
        with quiet(), group_of_one():
            for package in args.packages or PACKAGES:
                importlib.import_module(f'{package}.utils').register_all_modules()
                for path, cfg in one_of_each_folder(package, args.only):
                    for family in args.families:
                        failed += tell(path, cfg, package, family, args.size)
    return int(failed > 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Has neither logs nor warnings of others shown."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def group_of_one() -> Iterator[None]:
    """A process group, for which some norms ask when they are built."""
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def tell(path: Path, cfg: Config, package: str, family: str, size: int) -> bool:
    """Runs a pair and prints a row of a table; returns whether it failed."""
    error = error_of(cfg, package, family, size)
    outcome = error or 'runs'
    if error is not None and error_of(cfg, package, None, size) is not None:
        outcome += ' (nor does it run with its own)'
    print(f'| {package}/{path.parent.name} | {path.stem} | {family} | {outcome} |', flush=True)
    return error is not None


def error_of(cfg: Config, package: str, family: str | None, size: int) -> str | None:
    """What goes wrong with a pair, if anything."""
    torch.manual_seed(0)
    try:
        run(Config(cfg.to_dict()), package, family, size)
    except Exception as error:  # noqa: BLE001  their code, whatever goes wrong in it
        return f'{type(error).__name__}: {error}'.splitlines()[0][:140]
    return None


if __name__ == '__main__':
    sys.exit(main())
