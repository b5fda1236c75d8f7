import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvmamba.apis.task_models import build_from_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def demo():
    spec = importlib.util.spec_from_file_location('toy_demo', ROOT / 'demo/toy_demo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_that_learn_nothing_are_no_proof(demo):
    # Measured: trained, and trained with random blocks that are frozen.
    assert demo.fault(trained=0.366, renewed=0.185, min_ap=0.30) is None
    message = demo.fault(trained=0.349, renewed=0.323, min_ap=0.30)
    assert 'with new random blocks in the backbone the box AP is 0.323' in message
    assert demo.fault(0.29, 0.0, min_ap=0.30) == 'box AP 0.290 is not above 0.30'


def test_all_blocks_and_nothing_else_are_renewed(demo, tmp_path):
    model = build_from_config(Config.fromfile(ROOT / demo.CONFIG))
    ones = {key: torch.ones_like(value) for key, value in model.state_dict().items()}
    torch.save(dict(state_dict=ones), tmp_path / 'a.pth')
    demo.renew_blocks(tmp_path / 'a.pth', tmp_path / 'new/b.pth')
    state = torch.load(tmp_path / 'new/b.pth')['state_dict']
    assert list(state) == list(ones)
    projections = {key for key in ones if 'layers' in key and 'proj.weight' in key}
    changed = {key for key in ones if not torch.equal(state[key], ones[key])}
    assert projections < changed
    assert all(key.startswith('backbone.layers.') for key in changed)


@pytest.mark.slow
def test_the_demo_learns_and_draws(tmp_path):
    command = [sys.executable, 'demo/toy_demo.py', '--work-dir', str(tmp_path), '--min-ap', '0.30']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert 'box AP@[.5:.95]' in done.stdout
    assert 'with new blocks' in done.stdout
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 24
