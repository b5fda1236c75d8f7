import logging

import pytest
from mmengine.logging import MMLogger


@pytest.fixture
def log():
    """The lines that are logged."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler = Handler()
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
