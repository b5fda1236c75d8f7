"""Has mmengine read checkpoints through this package, wherever a config or a call names one."""

import types

__all__ = ['register_schemes']

PREFIXES = ('', 'http://', 'https://', 'hf://')


def register_schemes(module: types.ModuleType) -> None:
    """Registers our reader for local files, addresses and ``hf://`` names; may be repeated.

    Args:
        module: ``mmengine.runner.checkpoint``.
    """
    module.CheckpointLoader.register_scheme(PREFIXES, _read, force=True)


def _read(filename: str, map_location: str | None = None) -> dict:
    # Schemes are registered while mmengine is being imported, of which the reader needs more.
    from mmvmamba.checkpoint import load_from_any

    return load_from_any(filename, map_location)
