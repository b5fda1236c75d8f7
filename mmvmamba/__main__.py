"""``python -m mmvmamba``: see :mod:`mmvmamba.cli.main`."""

import sys

from mmvmamba.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
