"""What the command-line tools share: configs, checks before a run, runs, reports of errors."""

__all__: list[str] = []
