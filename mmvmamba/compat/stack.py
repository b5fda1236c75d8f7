"""Whether the OpenMMLab packages are there and fit each other, judged by what imports.

``mmcv``, ``mmcv-lite`` and ``onedl-mmcv`` are one package under three distribution names, and so
are the others, so names of distributions say nothing.
"""

import importlib
import importlib.util
from types import ModuleType

__all__ = ['INSTALL_COMMAND', 'require']

INSTALL_COMMAND = 'pip install "mmvmamba[openmmlab]"'


def require(name: str) -> ModuleType:
    """Import a package of the OpenMMLab stack, or say in one sentence what is wrong with it.

    Args:
        name: import name, such as 'mmdet'.

    Raises:
        ImportError: if the package or something it needs is not installed, or if it refuses the
            version of another package.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if importlib.util.find_spec(name.split('.')[0]) is None:
            message = f'{name} is not installed; add it with: {INSTALL_COMMAND}'
        else:
            message = f'{name} needs {error.name}, which is missing; add it with: {INSTALL_COMMAND}'
        raise ImportError(message) from None
    except AssertionError as error:
        # mmdet, mmseg and mmpretrain assert the range of mmcv and mmengine that they accept.
        raise ImportError(
            f'{name} refuses an installed package ({error}); versions that fit come with: '
            f'{INSTALL_COMMAND}'
        ) from None
