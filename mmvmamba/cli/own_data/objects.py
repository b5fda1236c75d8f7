"""Boxes, and masks where there are some, in annotation files of COCO's form."""

from dataclasses import dataclass
from typing import Any, ClassVar

from mmengine.config import Config

from .found import HEAD, FoundData, Settings
from .source import model_changes, source

__all__ = ['ObjectFiles', 'Split', 'annotated_classes', 'has_masks']

CONFIG = (
    HEAD
    + """classes = {classes!r}
num_classes = len(classes)
batch_size = {batch_size}
epochs = {epochs}

model = {changes}
train_pipeline = {train_pipeline}
test_pipeline = {test_pipeline}
dataset = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=batch_size,
    num_workers={workers},
    persistent_workers=False,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(
        ann_file={train_file!r},
        data_prefix=dict(img={train_images!r}),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    num_workers={workers},
    persistent_workers={persistent},
    dataset=dict(
        ann_file={val_file!r},
        data_prefix=dict(img={val_images!r}),
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={val_path!r}, metric={metric!r})
test_evaluator = val_evaluator

# Of {base_batch} images a step {rate:g}, and in proportion to the root of their number.
optim_wrapper = dict(optimizer=dict(lr={rate:g} * (batch_size / {base_batch}) ** 0.5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end={warmup}),
    dict(type='CosineAnnealingLR', T_max=epochs, convert_to_iter_based=True),
]
train_cfg = dict(
    _delete_=True, type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1
)
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
log_processor = dict(by_epoch=True)
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=True, interval=1, save_best='coco/bbox_mAP', rule='greater'),
)
"""
)
BATCH_SIZE = 2


@dataclass(frozen=True)
class Split:
    """Images with objects.

    Args:
        file: The annotation file, from the root; or the name of one of ``files``.
        images: The folder of the images, from the root.
        count: Number of images.
    """

    file: str
    images: str
    count: int


@dataclass(frozen=True)
class ObjectFiles(FoundData):
    """Two annotation files and their images.

    Args:
        kind: What the layout is called.
        train_split: For training.
        val_split: For validation.
        with_masks: Whether every object has a mask.
    """

    kind: str
    train_split: Split
    val_split: Split
    with_masks: bool

    task: ClassVar[str] = 'detection'

    @property
    def layout(self) -> str:  # type: ignore[override]
        """What the layout is called, and whether there are masks."""
        return f'{self.kind} with {"boxes and masks" if self.with_masks else "boxes"}'

    def suits(self, model: Config) -> bool:
        """Whether a detector learns masks if there are some, and else does not."""
        return _has_mask_head(model) == self.with_masks

    def config(self, settings: Settings) -> str:
        """Fine-tunes a detector, without its mask head if there are no masks."""
        cfg = Config.fromfile(settings.entry.config, import_custom_modules=False)
        changes = model_changes(cfg, settings)
        learns_masks = _has_mask_head(cfg.model) and self.with_masks
        if _has_mask_head(cfg.model) and not self.with_masks:
            changes['roi_head'] |= dict(mask_head=None, mask_roi_extractor=None)
        pipelines = {
            f'{split}_pipeline': source(_pipeline(cfg, f'{split}_dataloader', learns_masks))
            for split in ('train', 'test')
        }
        train, val = (self._file(split, settings) for split in (self.train_split, self.val_split))
        return CONFIG.format(
            **self.common(settings, BATCH_SIZE),
            **pipelines,
            changes=source(changes),
            train_file=train,
            val_file=val,
            train_images=self.train_split.images,
            val_images=self.val_split.images,
            val_path=str(self.root / val),
            metric=['bbox', 'segm'] if learns_masks else ['bbox'],
            rate=cfg.optim_wrapper.optimizer.lr,
            base_batch=cfg.auto_scale_lr.base_batch_size,
        )

    def _file(self, split: Split, settings: Settings) -> str:
        is_own = split.file in self.files
        return str(settings.path.parent.resolve() / split.file) if is_own else split.file


def annotated_classes(content: Any) -> tuple[str, ...]:
    """Names of the categories of a sound annotation file that have an object, in its order.

    Exports of annotation tools also list the group of all classes.
    """
    used = {record['category_id'] for record in content.get('annotations', ())}
    return tuple(record['name'] for record in content['categories'] if record['id'] in used)


def has_masks(content: Any) -> bool:
    """Whether every object of a sound annotation file has a mask."""
    records = content.get('annotations')
    return bool(records) and all(record.get('segmentation') for record in records)


def _has_mask_head(model: Config) -> bool:
    return bool(model.get('roi_head', {}).get('mask_head'))


def _pipeline(cfg: Config, loader: str, with_mask: bool) -> list[dict]:
    """The steps of a data loader's data set, which load masks if they are learnt."""
    steps = [dict(step) for step in cfg[loader].dataset.pipeline]
    for step in steps:
        if step['type'] == 'LoadAnnotations':
            step.pop('with_mask', None)
            step.update(dict(with_mask=True) if with_mask else {})
    return Config(dict(steps=steps)).to_dict()['steps']
