import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_learns_and_draws(tmp_path):
    command = [sys.executable, 'demo/toy_demo.py', '--work-dir', str(tmp_path), '--min-ap', '0.30']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert 'box AP@[.5:.95]' in done.stdout
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 24
