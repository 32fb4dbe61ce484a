import os
import subprocess
import sys

from config_tree import ROOT

CODE = """
import os
import torch
from projects.crate.engine import distributed

def threads():
    return [open(f'/proc/self/task/{task}/comm').read().strip() for task in os.listdir('/proc/self/task')]

distributed.init_cpu_processes('pytorch')
model = distributed.CPUDistributedDataParallel(torch.nn.Linear(2, 2))
model.circle = [model]  # as a runner and its hooks are
del model
assert 'pt_gloo_runloop' in threads()
distributed._leave()
print(*threads())
"""


def test_no_thread_of_gloo_outlives_the_interpreter():
    """They aborted a process after its training now and then: "terminate called without an active exception"."""
    place = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    environment = {**os.environ, **place, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout and 'gloo' not in done.stdout
