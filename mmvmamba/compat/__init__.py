"""What makes the installed OpenMMLab stack usable: see :func:`prepare_stack`."""

from .mmcv_ext import provide_mmcv_ops
from .serialization import allow_safe_globals

__all__ = ['allow_safe_globals', 'prepare_stack', 'provide_mmcv_ops']


def prepare_stack() -> None:
    """Provide mmcv's missing operators and let mmengine's checkpoints load; may be repeated."""
    provide_mmcv_ops()
    allow_safe_globals()
