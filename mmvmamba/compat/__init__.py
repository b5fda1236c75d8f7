"""What makes the installed OpenMMLab stack usable: see :func:`prepare_stack`."""

from .mmcv_ext import mmcv_ops_status, provide_mmcv_ops
from .stack import INSTALL_COMMAND, require

__all__ = [
    'INSTALL_COMMAND',
    'mmcv_ops_status',
    'prepare_stack',
    'provide_mmcv_ops',
    'require',
]


def prepare_stack() -> None:
    """Provide mmcv's missing operators and let mmengine's checkpoints load; may be repeated."""
    require('mmengine')
    from .serialization import allow_safe_globals

    provide_mmcv_ops()
    allow_safe_globals()
