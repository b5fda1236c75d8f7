"""Imported before every test module."""

import os

import torch

# Provides what mmdet and mmseg need of mmcv, whose imports sort before ours in test modules.
import mmvmamba  # noqa: F401

if 'PYTEST_XDIST_WORKER' in os.environ:
    # Workers share the cores; threads of each would wait for those of the others.
    torch.set_num_threads(1)
