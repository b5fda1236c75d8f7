"""The backends of an operator: which there are, which one runs, and how a user forces one."""

import logging
import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

__all__ = ['Backends', 'alert_not_deterministic']


class Backends:
    """The backends of one operator, each a module with ``unavailable_reason(device, dtype, size)``.

    That function returns None if the backend can run inputs of that device (``torch.device``),
    dtype and size (of what the operator names), else the reason, ending with the command that would
    make it available where there is one. It may import the backend's library, catching an
    ``ImportError``; importing the backend's module imports nothing but torch.

    Args:
        operator: What messages and the log call the operator.
        modules: Name of a backend to its module; ``auto`` takes the first that can run.
        package: Package of the modules.
        variable: Environment variable that forces a backend.
        logger: Where the choice is logged.
        on_request: Those of the backends that run only where they are asked for by name.
    """

    def __init__(
        self,
        operator: str,
        modules: Mapping[str, str],
        package: str,
        variable: str,
        logger: logging.Logger,
        on_request: Collection[str] = (),
    ) -> None:
        self.operator, self.variable = operator, variable
        self.modules = dict(modules)
        self.automatic = [name for name in self.modules if name not in on_request]
        self.package = package
        self.logger = logger
        self.logged: set[tuple[str, str, torch.dtype]] = set()
        self.imported: dict[str, ModuleType] = {}
        # Of the current thread or task alone: another one keeps its own choice.
        self.forced: ContextVar[str | None] = ContextVar(f'backend of {operator}', default=None)

    def check_name(self, name: str, source: str) -> str:
        """Returns ``name`` if it is a choice, else raises with the ``source`` of the wrong name."""
        choices = ['auto', *self.modules]
        if name not in choices:
            raise ValueError(f'{source} must be one of {choices}, got {name!r}')
        return name

    @contextmanager
    def force(self, name: str, source: str) -> Iterator[None]:
        """Forces a backend (or ``'auto'``) inside, for this thread or task.

        ``source`` is what the message names if there is no such backend.
        """
        token = self.forced.set(self.check_name(name, source))
        try:
            yield
        finally:
            self.forced.reset(token)

    def requested(self, argument: str | None) -> str:
        """Returns the argument, else what is forced, else the environment's, else ``'auto'``."""
        if argument is not None:
            return self.check_name(argument, 'backend')
        forced = self.forced.get()
        if forced is not None:
            return forced
        named = os.environ.get(self.variable)
        return 'auto' if named is None else self.check_name(named, self.variable)

    def requested_by_forward(self, argument: str | None, output: Tensor) -> str | None:
        """Returns what the backward pass is to ask for: what its forward pass did.

        Compiled code asks anew when it runs, as its forward pass does. While it is traced, the
        output is of a tracer's own class, and what is forced then is of no account.
        """
        return self.requested(argument) if type(output) is Tensor else argument

    def module(self, name: str) -> ModuleType:
        if name not in self.imported:
            self.imported[name] = import_module(f'.{self.modules[name]}', self.package)
        return self.imported[name]

    def unavailable_reason(
        self, name: str, device: torch.device, dtype: torch.dtype, size: int
    ) -> str | None:
        reason: str | None = self.module(name).unavailable_reason(device, dtype, size)
        return reason

    def available(self, device: torch.device, dtype: torch.dtype, size: int) -> list[str]:
        """The names that ``auto`` chooses from, of those that can run, the preferred one first."""
        return [
            n for n in self.automatic if self.unavailable_reason(n, device, dtype, size) is None
        ]

    def select(
        self, argument: str | None, device: torch.device, dtype: torch.dtype, size: int
    ) -> ModuleType:
        """Returns the module of the requested backend, logged once for each kind of input.

        Raises:
            RuntimeError: if the backend asked for cannot run here, with the reason.
        """
        name = self.requested(argument)
        if name == 'auto':
            kind = (device, dtype, size)
            chosen = next(n for n in self.automatic if not self.unavailable_reason(n, *kind))
        else:
            chosen = name
            reason = self.unavailable_reason(name, device, dtype, size)
            if reason is not None:
                raise RuntimeError(f'{self.operator} backend {name!r} cannot run here: {reason}')
        logged = (chosen, device.type, dtype)
        if logged not in self.logged:
            self.logged.add(logged)
            self.logger.info(
                '%s: backend %s for %s on %s', self.operator, chosen, dtype, device.type
            )
        return self.module(chosen)


def alert_not_deterministic(what: str) -> None:
    """Raises, or warns, as torch's own operators do where torch is told to be deterministic."""
    if not torch.are_deterministic_algorithms_enabled():
        return
    message = f'{what} adds up in no fixed order: its last bits differ from run to run'
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(f'{message}. torch.use_deterministic_algorithms(True) forbids that')
    warnings.warn(message, stacklevel=2)
