"""Detectors and segmentors by the names of their config files."""

from pathlib import Path

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import mmvmamba
from mmvmamba.checkpoint import load_model

__all__ = [
    'TASKS',
    'TASK_WEIGHTS',
    'build_from_config',
    'build_task_model',
    'config_root',
    'task_configs',
]

TASKS = {'detection': 'det', 'segmentation': 'seg'}

_PLAIN_MAMBA = 'https://huggingface.co/ChenhongyiYang/PlainMamba/resolve/main'
_NVIDIA = 'https://huggingface.co/nvidia'


def _nvidia(repo: str) -> str:
    return f'{_NVIDIA}/{repo}/resolve/main/{repo}.pth'


# Official weights by config name.
TASK_WEIGHTS = {
    **{f'l{n}_maskrcnn_1x': f'{_PLAIN_MAMBA}/detection/maskrcnn/l{n}_1x.pth' for n in (1, 2, 3)},
    **{f'l{n}_retinanet_1x': f'{_PLAIN_MAMBA}/detection/retinanet/l{n}_1x.pth' for n in (1, 2, 3)},
    **{f'l{n}_upernet': f'{_PLAIN_MAMBA}/segmentation/l{n}_upernet.pth' for n in (1, 2, 3)},
    **{
        f'mambavision_{size[0]}_cascade_maskrcnn_3x': _nvidia(
            f'cascade_mask_rcnn_mamba_vision_{size}_3x_coco'
        )
        for size in ('tiny', 'small', 'base')
    },
    **{
        f'mambavision_{size[0]}_upernet_160k': _nvidia(f'mamba_vision_160k_ade20k-512x512_{size}')
        for size in ('tiny', 'small', 'base')
    },
    'mambavision_l3_21k_upernet_160k_640': _nvidia('mamba_vision_160k_ade20k-640x640_l3_21k'),
}


def task_configs(task: str | None = None) -> dict[str, Path]:
    """Config files by model name, of one task or of both."""
    folders = TASKS.values() if task is None else (TASKS[task],)
    files = (file for folder in folders for file in (config_root() / folder).glob('*.py'))
    # The examples of fine-tuning are no models of their own.
    return {file.stem: file for file in sorted(files) if not file.stem.endswith('_example')}


def build_task_model(
    name: str,
    pretrained: bool | str | Path,
    num_classes: int | None,
    entry: str | None,
    backbone_overrides: dict,
) -> nn.Module:
    """Builds a detector or segmentor; see ``get_model``."""
    if num_classes is not None:
        raise ValueError(
            f'num_classes is for classifiers; for {name} change the heads in a config that starts '
            f'from {task_configs()[name]}'
        )
    if pretrained is True and name not in TASK_WEIGHTS:
        raise ValueError(f'there are no official weights of {name}; give a file')
    config = Config.fromfile(task_configs()[name])
    config.model.backbone.update(backbone_overrides)
    model = build_from_config(config)
    if pretrained:
        load_model(model, TASK_WEIGHTS[name] if pretrained is True else pretrained, entry)
    model.cfg = config
    return model


def build_from_config(config: Config) -> nn.Module:
    """Builds the model of a config, on any device and without its initial weights."""
    # The weights are those of the whole model, or none.
    config.model.backbone.pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return revert_sync_batchnorm(MODELS.build(config.model))


def config_root() -> Path:
    """The folder of the shipped configs."""
    package = Path(mmvmamba.__file__).parent
    # Beside the package in a checkout, inside it when installed.
    beside = package.parent / 'configs'
    return beside if (beside / 'det').is_dir() else package / '.mim' / 'configs'
