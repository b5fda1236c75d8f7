"""What makes the installed OpenMMLab stack usable: see :func:`prepare_stack`."""

from .mmcv_ext import mmcv_ops_status, provide_mmcv_ops
from .multimodal import fit_multimodal
from .stack import INSTALL_COMMAND, require

__all__ = [
    'INSTALL_COMMAND',
    'fit_multimodal',
    'mmcv_ops_status',
    'prepare_stack',
    'provide_mmcv_ops',
    'require',
]


def prepare_stack() -> None:
    """Makes the stack import, with mmcv's missing operators, and mmengine's checkpoints load.

    May be repeated.
    """
    require('mmengine')
    from .serialization import allow_safe_globals

    provide_mmcv_ops()
    fit_multimodal()
    allow_safe_globals()
