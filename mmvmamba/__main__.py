"""``python -m mmvmamba``: see :mod:`mmvmamba.cli.main`."""

from mmvmamba.cli.leaving import leave
from mmvmamba.cli.main import main

if __name__ == '__main__':
    leave(main())
