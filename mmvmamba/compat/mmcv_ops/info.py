"""What mmcv says about its build when it is asked for the environment."""

__all__ = ['get_compiler_version', 'get_compiling_cuda_version']


def get_compiler_version() -> str:
    """Name what took the place of the compiled operators."""
    return 'none (mmvmamba stand-in)'


def get_compiling_cuda_version() -> str:
    """Name what took the place of the compiled operators."""
    return 'none (mmvmamba stand-in)'
