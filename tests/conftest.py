"""Imported before every test module."""

# Provides what mmdet and mmseg need of mmcv, whose imports sort before ours in test modules.
import mmvmamba  # noqa: F401
