"""``python -m mmvmamba.doctor``: see :mod:`mmvmamba.cli.doctor`."""

import sys

from mmvmamba.cli.doctor import main

if __name__ == '__main__':
    sys.exit(main())
