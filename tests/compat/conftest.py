"""What the tests of mmcv's operators share."""

import pytest

from mmvmamba.compat import mmcv_ops


def put_in_place(monkeypatch, wrapped=lambda function: function):
    """Has mmcv call the stand-ins, where its own operators are compiled too."""
    from mmcv import _ext

    for name in mmcv_ops.__all__:
        monkeypatch.setattr(_ext, name, wrapped(getattr(mmcv_ops, name)), raising=False)


@pytest.fixture
def stand_ins(monkeypatch):
    put_in_place(monkeypatch)
