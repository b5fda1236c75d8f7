"""A program of a distributed run does what is to be done in the end, and leaves the rest out."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading, time
import torch.distributed as dist
from mmvmamba.cli.leaving import leave

class Last:
    def __del__(self):
        print('the end of Python')

last = Last()
atexit.register(print, 'at exit')
threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()
if {in_group}:
    dist.init_process_group('gloo', init_method='file://{folder}/group', rank=0, world_size=1)
print('buffered', end=' ')
leave(3)
"""


@pytest.mark.parametrize('in_group', [True, False])
def test_all_but_the_end_of_python_happens(in_group, tmp_path):
    program = PROGRAM.format(in_group=in_group, folder=tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    rest = [] if in_group else ['the end of Python']
    assert done.stdout.splitlines() == ['buffered thread', 'at exit', *rest]
