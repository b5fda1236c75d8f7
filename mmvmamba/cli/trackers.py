"""Where the figures of a training go beside its log: ``--log-to``."""

from importlib.util import find_spec

from mmengine.config import Config

from .errors import UserError

__all__ = ['TRACKERS', 'set_trackers']

# Name: mmengine's back end, and the package that it needs.
TRACKERS = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard'),
    'mlflow': ('MLflowVisBackend', 'mlflow'),
    'wandb': ('WandbVisBackend', 'wandb'),
}


def set_trackers(cfg: Config, names: list[str]) -> None:
    """Has the visualizer of a config hand figures and pictures to trackers.

    Args:
        cfg: The config, changed in place.
        names: Out of ``TRACKERS``.

    Raises:
        UserError: If a tracker's package is not installed.
    """
    visualizer = cfg.get('visualizer') or dict(type='Visualizer')
    backends = list(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    for name in dict.fromkeys(names):
        kind, package = TRACKERS[name]
        if find_spec(package) is None:
            raise UserError(f'--log-to {name} needs the package {package}: pip install {package}')
        if all(backend['type'] != kind for backend in backends):
            backends.append(dict(type=kind))
    cfg.visualizer = {**visualizer, 'vis_backends': backends}
