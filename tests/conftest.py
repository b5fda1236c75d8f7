"""Imported before every test module."""

import os

import pytest
import torch
from mmengine.utils import ManagerMixin

# Provides what mmdet and mmseg need of mmcv, whose imports sort before ours in test modules.
import mmvmamba
from mmvmamba.apis import benchmark

if 'PYTEST_XDIST_WORKER' in os.environ:
    # Workers share the cores; threads of each would wait for those of the others.
    torch.set_num_threads(1)


def subclasses(cls):
    """A class and all that derive from it."""
    yield cls
    for derived in cls.__subclasses__():
        yield from subclasses(derived)


@pytest.fixture(autouse=True)
def own_instances():
    """Lets no test find what mmengine keeps by name of another one.

    That is a scope, a logger whose captured stream is closed, a visualizer whose folder is gone.
    """
    yield
    for cls in subclasses(ManagerMixin):
        cls._instance_dict.clear()


@pytest.fixture
def made_ready(monkeypatch):
    """The models that are made ready for inference meanwhile."""
    models, make = [], mmvmamba.optimize_for_inference

    def record(model):
        models.append(make(model))
        return models[-1]

    monkeypatch.setattr(mmvmamba, 'optimize_for_inference', record)
    monkeypatch.setattr(benchmark, 'optimize_for_inference', record)
    return models
