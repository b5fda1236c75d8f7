"""What the tests of mmcv's operators share."""

import pytest

from mmvmamba.compat import mmcv_ops


@pytest.fixture
def stand_ins(monkeypatch):
    """Has mmcv call the stand-ins, where its own operators are compiled too."""
    from mmcv import _ext

    for name in mmcv_ops.__all__:
        monkeypatch.setattr(_ext, name, getattr(mmcv_ops, name), raising=False)
