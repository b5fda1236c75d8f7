"""``python -m mmvmamba``: see :mod:`mmvmamba.cli.main`."""

from mmvmamba.cli.main import program

if __name__ == '__main__':
    program()
