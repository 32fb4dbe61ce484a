"""Parts of tiny training runs, by name in configs and so also in the processes that a test starts and kills."""

import gc
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.utils import ManagerMixin
from torch import nn
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from projects.crate import compat
from projects.crate.engine import launch

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = 20


class InterruptionError(Exception):
    """Stands for a kill in tests that stay in one process: nothing is saved on its way."""


@DATASETS.register_module()
class ToyDataset(Dataset):
    """Sample i is a function of i; every one that is loaded is written to a log, from whatever process."""

    def __init__(self, log):
        self.log = log

    def __len__(self):
        return SAMPLES

    def get_data_info(self, index):
        """Sizes for batch samplers that group by aspect ratio: every third image is upright."""
        return dict(width=4, height=6) if index % 3 == 0 else dict(width=6, height=4)

    def __getitem__(self, index):
        with Path(self.log).open('a') as file:
            file.write(f'{index}\n')
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(4, generator=generator), targets=torch.randn(2, generator=generator))


@DATASETS.register_module()
class ToyImages(Dataset):
    """Image i is a function of i, of ``sizes[i % len(sizes)]``, (height, width); what is loaded may be logged."""

    def __init__(self, number, sizes=((8, 12),), log=os.devnull):
        self.number, self.sizes, self.log = number, sizes, log

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        with Path(self.log).open('a') as file:
            file.write(f'{index}\n')
        generator = torch.Generator().manual_seed(index)
        size = (3, *self.sizes[index % len(self.sizes)])
        return dict(inputs=torch.randint(256, size, dtype=torch.uint8, generator=generator), data_samples=None)


@MODELS.register_module()
class ToyModel(BaseModel):
    """Two linear layers, and a normalisation if asked for."""

    def __init__(self, norm=None):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), getattr(nn, norm)(8) if norm else nn.Tanh(), nn.Linear(8, 2))

    def forward(self, inputs, targets, mode='tensor'):
        inputs, targets = (torch.stack(list(part)) for part in (inputs, targets))
        output = self.net(inputs)
        if mode == 'loss':
            return dict(loss=(output - targets).square().mean())
        return list((output.float() - targets).square().mean(1)) if mode == 'predict' else output


class CRATENet(nn.Module):
    """Four numbers as an image of 8 x 8, a CRATE of two layers, two numbers."""

    def __init__(self):
        super().__init__()
        arch = dict(embed_dims=8, num_layers=2, num_heads=2)
        self.backbone = MODELS.build(dict(type='CRATE', arch=arch, img_size=8, patch_size=4))
        self.head = nn.Linear(8, 2)

    def forward(self, inputs):
        return self.head(self.backbone(inputs.repeat(1, 48).reshape(-1, 3, 8, 8))[-1])


@MODELS.register_module()
class ToyCRATE(ToyModel):
    """The same task, solved by a CRATE."""

    def __init__(self):
        super().__init__()
        self.net = CRATENet()


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Mean of what the model predicts."""

    def process(self, data_batch, data_samples):
        self.results += [float(error) for error in data_samples]

    def compute_metrics(self, results):
        return dict(error=sum(results) / len(results))


@METRICS.register_module()
class ScriptedMetric(BaseMetric):
    """``scores[n]`` after epoch n, counted from 0, and twice as much."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        score = self.scores[MessageHub.get_current_instance().get_info('epoch')]
        return dict(error=score, twice=2 * score)


@HOOKS.register_module()
class StopHook(Hook):
    """Ends the run before iteration ``at`` (counted from 0): by SIGKILL, or by an exception."""

    priority = 'VERY_HIGH'

    def __init__(self, at, kill=False):
        self.at, self.kill = at, kill

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise InterruptionError


@HOOKS.register_module()
class PauseHook(Hook):
    """Makes every iteration take ``seconds`` longer."""

    def __init__(self, seconds):
        self.seconds = seconds

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        time.sleep(self.seconds)


@HOOKS.register_module()
class ExitHook(Hook):
    """Ends the process before iteration ``at`` as somebody's hook may."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            raise SystemExit(7)


def put_half_and_die(backend, data, path):
    """Stands for ``LocalBackend.put``."""
    Path(path).write_bytes(data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class KillWhileSavingHook(Hook):
    """SIGKILL with half of the checkpoint of iteration ``at`` on the disk."""

    def __init__(self, at):
        self.at = at

    def before_save_checkpoint(self, runner, checkpoint):
        if runner.iter + 1 == self.at:
            LocalBackend.put = put_half_and_die


@HOOKS.register_module()
class SaveRankHook(Hook):
    """Every process writes its weights after training."""

    def __init__(self, folder):
        self.folder = folder

    def after_train(self, runner):
        torch.save(runner.model.module.state_dict(), Path(self.folder, f'rank{runner.rank}.pth'))


def config(folder, loop=None, checkpoint=None, sampler='DefaultSampler', **changes):
    """A toy config in ``folder``; returns its path. Keys of ``changes`` replace keys of the config."""
    loop = loop or dict(type='EpochBasedTrainLoop', max_epochs=3)
    by_epoch = 'max_epochs' in loop
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyDataset', log=str(Path(folder, 'seen.txt'))),
        sampler=dict(type=sampler, shuffle=True),
    )
    cfg = dict(
        custom_imports=dict(imports=['projects.crate', 'toy_runs']),
        default_scope='mmengine',
        work_dir=str(Path(folder, 'run')),
        model=dict(type='ToyModel'),
        train_dataloader=loader,
        train_cfg=loop,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.02)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4)]
        + ([dict(type='CosineAnnealingLR', by_epoch=True, begin=1, convert_to_iter_based=True)] if by_epoch else []),
        default_hooks=dict(
            checkpoint=checkpoint or dict(type='CheckpointHook', interval=2, by_epoch=False, max_keep_ckpts=1),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        randomness=dict(seed=3),
    )
    path = Path(folder, 'toy.json')
    Path(folder).mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**cfg, **changes}))
    return path


def train(path, resume=None, *options):
    """What ``tools/train.py`` does, in this process; returns the runner."""
    forget_runs()
    cfg = launch.read_config(path, options)
    launch.prepare_training(cfg, resume)
    runner = launch.build_runner(cfg)
    try:
        runner.train()
    finally:
        end_workers()
    return runner


def same(a, b):
    """Whether two nested structures are equal, tensors bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(itertools.starmap(same, zip(a, b)))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def forget_runs(kind=ManagerMixin):
    """Clear mmengine's named singletons, also of subclasses: runs that start in one second would share them."""
    for child in kind.__subclasses__():
        child._instance_dict.clear()
        forget_runs(child)


def end_workers():
    """End the workers of all loaders, as the end of a process does; the garbage collector takes 5 s for each."""
    for iterator in gc.get_objects():
        if issubclass(type(iterator), _MultiProcessingDataLoaderIter):  # isinstance() asks what a dead proxy stood for
            iterator._shutdown_workers()


def seen(folder):
    """The samples that were loaded, in order."""
    log = Path(folder, 'seen.txt')
    return [int(line) for line in log.read_text().split()] if log.is_file() else []


def last_checkpoint(folder):
    """What the last checkpoint of the run in ``folder`` holds."""
    return load(Path(folder, 'run', 'last_checkpoint').read_text())


def load(path):
    """A checkpoint, read safely. onedl-mmengine takes its own types off torch's list after a load."""
    compat.allow_mmengine_checkpoints()
    return torch.load(path, weights_only=True)


def run_tool(name, *arguments, check=True, **environment):
    """``python tools/NAME ARGUMENTS`` (or bash for a script) from the repository root."""
    interpreter = 'bash' if name.endswith('.sh') else sys.executable
    variables = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')]),
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
        **environment,
    )
    command = [interpreter, str(ROOT / 'tools' / name), *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    if check:
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def load_tool(name):
    """``main`` of a tool, to call it in this process."""
    return runpy.run_path(str(ROOT / 'tools' / f'{name}.py'))['main']
