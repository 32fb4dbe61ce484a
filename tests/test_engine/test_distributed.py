import os
import subprocess
import sys

from config_tree import ROOT

CODE = """
import sys
import time
import torch
from projects.crate.engine import distributed

distributed.init_cpu_processes('pytorch')
model = distributed.CPUDistributedDataParallel(torch.nn.Linear(2, 2))
model.circle = [model]  # as a runner and its hooks are
sys.setswitchinterval(100)  # the main thread keeps the interpreter's lock until it waits for something
torch.distributed.all_reduce(torch.ones(1), async_op=True)
end = time.monotonic() + 0.5
while time.monotonic() < end:
    pass
"""


def test_a_process_ends_while_gloo_holds_its_last_tensor():
    """A thread that waited for the interpreter's lock aborted the process at its end, or waited for it for ever."""
    place = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    environment = {**os.environ, **place, 'PYTHONPATH': str(ROOT)}
    code = [sys.executable, '-c', CODE]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
