"""mmengine reads checkpoints through this package, whatever was imported first."""

import subprocess
import sys

import pytest

CHECK = """
from mmengine.runner import CheckpointLoader
try:
    CheckpointLoader.load_checkpoint('hf://no-owner')
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    'first', ['import mmengine.runner, mmvmamba', 'import mmvmamba.checkpoint']
)
def test_hub_names_are_known_to_mmengine(first):
    done = subprocess.run(
        [sys.executable, '-c', f'{first}\n{CHECK}'], capture_output=True, text=True, timeout=300
    )
    assert 'a hub checkpoint is named hf://owner/name' in done.stdout, done.stderr[-2000:]
