"""Imported before every test module."""

import os

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

# Provides what mmdet and mmseg need of mmcv, whose imports sort before ours in test modules.
import mmvmamba  # noqa: F401

if 'PYTEST_XDIST_WORKER' in os.environ:
    # Workers share the cores; threads of each would wait for those of the others.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_default_scope():
    """Lets no test look names up in the scope that another one left."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def own_logger():
    """Lets no test log to the stream, closed by now, that was captured for another one."""
    yield
    MMLogger._instance_dict.clear()
