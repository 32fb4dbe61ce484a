"""Train in several processes, also on machines without a GPU."""

import atexit
import os
import re
import subprocess
import time

import torch.distributed as dist
from mmengine.dist import is_distributed, is_main_process
from mmengine.hooks import LoggerHook
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import HOOKS, MODEL_WRAPPERS
from mmengine.runner import Runner
from torch import nn
from torch.nn import SyncBatchNorm

from ..errors import ArgumentError, UnknownKeyError

# launcher -> the variables that hold rank, number of processes, and rank on this machine
_ENVIRONMENT = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def init_cpu_processes(launcher: str) -> None:
    """Join the process group over gloo; a second call does nothing.

    Reason: mmengine <= 0.10.7 (and onedl-mmengine <= 0.10.12) calls ``torch.cuda.set_device`` for every launcher, also
    where there is no GPU. It keeps a process group that exists. Arguments and errors: :func:`read_position`.
    """
    if is_distributed():
        return
    os.environ.update(read_position(launcher))
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], capture_output=True, text=True, check=True
        )
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        raise UnknownKeyError('MASTER_ADDR is not set: give the address of the first machine')
    dist.init_process_group('gloo')
    atexit.register(_leave)


def _leave() -> None:
    """Leave the process group while no thread of gloo waits for the interpreter's lock.

    A thread drops the tensor of the last collective under that lock. If the interpreter ends first, the thread aborts
    the process; if the group is destroyed first, the two wait for each other. A sleeping process holds no lock.
    """
    if dist.is_initialized():
        time.sleep(0.2)
        dist.destroy_process_group()


def read_position(launcher: str) -> dict[str, str]:
    """Return RANK, WORLD_SIZE and LOCAL_RANK of this process, from the variables that the launcher has set.

    Args:
        launcher: 'pytorch' (torchrun), 'slurm' or 'mpi'.

    Raises:
        UserError: One of the variables is missing, or is no number; the message names it.
    """
    position = {}
    for name, source in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), _ENVIRONMENT[launcher]):
        if source not in os.environ:
            raise UnknownKeyError(f'{source} is not set: --launcher {launcher} is for processes that it has started')
        if not re.fullmatch(r'-?\d+', os.environ[source]):
            raise ArgumentError(f'{source} is {os.environ[source]!r}: --launcher {launcher} needs a number there')
        position[name] = os.environ[source]
    return position


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """``MMDistributedDataParallel`` for a model on the CPU.

    ``device_ids`` is ignored: the runner gives a GPU number. ``SyncBatchNorm``, which has no CPU path, becomes
    ``BatchNorm``: each process normalises by its own batch.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, **kwargs) -> None:
        count = sum(isinstance(child, SyncBatchNorm) for child in module.modules())
        if count:
            print_log(f'{count} SyncBatchNorm layers are BatchNorm layers on the CPU', logger='current')
        super().__init__(module=revert_sync_batchnorm(module), device_ids=None, **kwargs)


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """mmengine's ``LoggerHook``, where only the main process writes the metrics of a test.

    Reason: in mmengine <= 0.10.7 (and onedl-mmengine <= 0.10.12) every process writes the same JSON file at once, and
    the file may be a mixture. ``tools/train.py`` and ``tools/test.py`` take this hook in its place.
    """

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Log the metrics, and write them to ``{time stamp}.json``."""
        if is_main_process():
            super().after_test_epoch(runner, metrics)
