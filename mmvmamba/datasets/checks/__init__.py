"""Checks of whole data sets. Each task's module imports that task's toolbox, so none is here."""

from .faults import Fault

__all__ = ['Fault']
