"""What ``mmvmamba`` can do: one module, or package of them, for each command.

A module has

- ``SUMMARY``: a line for the list of commands, without a full stop;
- ``EXAMPLE``: a line that can be typed, or several;
- ``add_arguments(parser)``; ``--debug`` is added to those of every command;
- ``run(args)``, which returns the exit code, or None for 0; whatever takes long to import or may be
  missing, torch and mmengine above all, is imported in it;

and, where these do not fit,

- ``BAD_INPUT``: exceptions beside ``UserError`` that are the user's and end in one line, by default
  ``SETUP_ERRORS``;
- ``NEEDS_STACK``: False if it runs without mmengine.

A package has ``SUMMARY``, ``EXAMPLE`` and ``COMMANDS``, the modules in it.
"""

__all__ = ['COMMANDS']

# In the order in which help lists them.
COMMANDS = (
    'predict',
    'train',
    'test',
    'validate',
    'list',
    'info',
    'flops',
    'memory',
    'benchmark',
    'show',
    'web',
    'convert',
    'export',
    'data',
    'doctor',
    'env',
    'completion',
)
