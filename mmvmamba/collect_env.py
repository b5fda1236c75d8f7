"""``python -m mmvmamba.collect_env``: see :mod:`mmvmamba.cli.collect_env`."""

from mmvmamba.cli.collect_env import main

if __name__ == '__main__':
    main()
