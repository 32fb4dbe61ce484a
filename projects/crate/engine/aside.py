"""Measuring the backbone while it trains, without the training noticing."""

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook, Hook, IterTimerHook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel
from mmengine.registry import DefaultScope
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.utils.data import DataLoader

from ..errors import ArgumentError, FileError
from ..files import atomic
from ..models.unwrap import unwrap
from .mistakes import is_named, missing_file


class AsideHook(Hook):
    """Every few epochs or iterations: measure the backbone, log it, and extend a curve. Base of hooks that do that.

    The training does not notice: weights, optimiser, random numbers, modes of the layers and order of the data are bit
    for bit those of a run without this hook, and the time it takes is not counted as training.

    After each measurement ``{work_dir}/{name}/curve.json`` has all of them up to now, ``[{"step": n, ...}, ...]``, the
    log gets a line, and every backend of the run's visualizer the scalars as ``{name}/{scalar}``, at step n: epochs or
    iterations done. The curve is part of the checkpoint; a resumed run goes on with what that checkpoint knew. The last
    epoch or iteration is measured too, as mmengine's validation does.

    A subclass has :meth:`build` and :meth:`measure`, and may have the methods after them.

    Args:
        interval: Epochs or iterations between two measurements.
        by_epoch: Whether ``interval`` counts epochs; a run by iterations needs False.
        initial: Also measure before the first iteration, as step 0.
        backbone: Dotted name of the backbone within the model ('student.backbone', say).
        use_ema: Take the weights averaged by mmengine's ``EMAHook``.
        data_preprocessor: Config; default is the normalisation and the channel order that the model trains with.
        name: Of the folder and the scalars; two hooks in one run need two names.

    Raises:
        ValueError: ``interval`` is less than 1; before training: there is no such backbone or no ``EMAHook``, FSDP has
            sharded the weights, or the training loop knows no epochs to count.
    """

    priority = 'LOW'  # after the EMA and the log of the iteration, before the checkpoint that keeps the curve
    scope: str | None = None  # where names in configs are looked up; None: in the scope of the run
    _loader: DataLoader

    def __init__(
        self,
        interval: int,
        by_epoch: bool,
        initial: bool,
        backbone: str,
        use_ema: bool,
        data_preprocessor: dict | None,
        name: str,
    ) -> None:
        if interval < 1:
            raise ArgumentError(f'{type(self).__name__}: interval must be at least 1, not {interval}')
        self.interval = interval
        self.by_epoch = by_epoch
        self.unit = 'epoch' if by_epoch else 'iter'
        self.initial = initial
        self.backbone = backbone
        self.use_ema = use_ema
        self.data_preprocessor = data_preprocessor
        self.name = name

    def build(self, runner: Runner) -> None:
        """Build all that :meth:`measure` needs, with ``self._loader`` over its images; called before training."""
        raise NotImplementedError

    def measure(self) -> tuple[dict[str, Any], Any]:
        """Measure the backbone as it is now; what goes into the curve, and anything else that :meth:`draw` needs.

        Called in all processes; the curve of the main process counts.
        """
        raise NotImplementedError

    def scalars(self, metrics: dict[str, Any]) -> dict[str, float]:
        """What the visualizer gets."""
        return metrics

    def summary(self, metrics: dict[str, Any]) -> str:
        """What the log gets."""
        return '  '.join(f'{key}: {value:.4f}' for key, value in metrics.items())

    def draw(self, runner: Runner, folder: Path, step: int, curve: list[dict], rest: Any) -> None:
        """Write pictures into ``folder``; called in the main process."""

    def before_train(self, runner: Runner) -> None:
        """Build everything, so that a mistake shows now; measure the untrained model if asked to."""
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ArgumentError(f'{type(self).__name__}: this run counts iterations, not epochs: set by_epoch=False')
        with aside(self.scope):
            self.build(runner)
        if self.initial and runner.iter == 0:
            self._extend(runner, 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Measure if it is time, counted in epochs."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._extend(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Measure if it is time, counted in iterations."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._extend(runner, runner.iter + 1)

    def report(self, runner: Runner, step: int, when: str) -> tuple[dict[str, Any], Any]:
        """Measure, log and visualise; returns what :meth:`measure` does."""
        start = time.perf_counter()
        metrics, rest = self.measure()
        seconds = time.perf_counter() - start
        count = len(self._loader.dataset)
        runner.logger.info(f'{self.name} [{when}]  {self.summary(metrics)}  ({count} images in {seconds:.1f} s)')
        scalars = {f'{self.name}/{key}': value for key, value in self.scalars(metrics).items()}
        runner.visualizer.add_scalars(scalars, step=step)
        return metrics, rest

    def build_loader(self, runner: Runner, dataloader: dict) -> DataLoader:
        """The loader of a config; its sampler, if none is given, takes the images in order.

        Raises:
            UserError: A file of the data set is missing.
        """
        cfg = dict(sampler=dict(type='DefaultSampler', shuffle=False)) | dataloader
        try:
            return runner.build_dataloader(cfg, seed=runner.seed)
        except FileNotFoundError as error:
            if (path := missing_file(error)) is None or not is_named(path, dataloader):
                raise
            raise FileError(f'{type(self).__name__}: not found: {path} (see dataloader.dataset)') from error

    def find_backbone(self, runner: Runner, averaged: bool) -> tuple[nn.Module, dict]:
        """The backbone itself, of the averaged weights or not, and a config of what normalises images for it."""
        backbone = find_module(averaged_model(runner) if averaged else runner.model, self.backbone)
        return backbone, self.data_preprocessor or normalisation_of(_unwrapped(runner.model).data_preprocessor)

    def _extend(self, runner: Runner, step: int) -> None:
        with aside(self.scope):
            metrics, rest = self.report(runner, step, f'{self.unit} {step}')
            key = f'{self.name}_curve'
            record = dict(step=step, **metrics)
            curve = [*_alike(runner.message_hub.get_info(key, []), record), record]
            runner.message_hub.update_info(key, curve)  # every checkpoint takes it along
            if is_main_process():
                folder = Path(runner.work_dir, self.name)
                folder.mkdir(exist_ok=True)
                with atomic(folder / 'curve.json') as part:
                    part.write_text(json.dumps(curve))
                self.draw(runner, folder, step, curve, rest)
        restart_clock(runner)


def restart_clock(runner: Runner) -> None:
    """What was done since the last iteration does not count as waiting for data."""
    for hook in runner.hooks:
        if isinstance(hook, IterTimerHook):
            hook.before_train_epoch(runner)


def find_module(model: nn.Module, name: str, argument: str = 'backbone') -> nn.Module:
    """Return a part of a model as :func:`find_part` does, without wrappers around it."""
    return _unwrapped(find_part(model, name, argument))


def find_part(model: nn.Module, name: str, argument: str) -> nn.Module:
    """Return a part of a model by its dotted name, through wrappers on the way: DDP, LoRA, test-time augmentation.

    Args:
        model: Where it is.
        name: 'student.backbone', say.
        argument: Where the user has given the name; for messages.

    Raises:
        ValueError: There is none; or FSDP has cut its weights into pieces that no single process holds.
    """
    if isinstance(model, FullyShardedDataParallel):
        raise ArgumentError(f'{argument}={name!r}: no process has all of it under FSDP: use DDP, or test checkpoints')
    module = model
    for part in name.split('.'):
        if part not in dict(module.named_children()):  # a name may also spell a wrapper out: 'backbone.module'
            module = _unwrapped(module)
        children = dict(module.named_children())
        if part not in children:
            owner = type(module).__name__
            raise ArgumentError(f'{argument}={name!r}: {owner} has no {part!r}, it has {", ".join(children)}')
        module = children[part]
    return module


def averaged_model(runner: Runner) -> nn.Module:
    """The model with the averaged weights of mmengine's ``EMAHook``.

    Raises:
        ValueError: The run has no such hook.
    """
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model.module
    raise ArgumentError('use_ema=True needs an EMAHook in custom_hooks')


def normalisation_of(preprocessor: nn.Module) -> dict:
    """Config of mmengine's ``ImgDataPreprocessor`` that normalises as a preprocessor of any of the libraries does."""
    while hasattr(preprocessor, 'data_preprocessor'):  # mmdet's student-teacher models wrap it
        preprocessor = preprocessor.data_preprocessor
    names = ('to_rgb', 'channel_conversion', '_channel_conversion')  # mmpretrain, mmseg, mmengine and mmdet
    cfg = dict(type='ImgDataPreprocessor', bgr_to_rgb=any(getattr(preprocessor, name, False) for name in names))
    if hasattr(preprocessor, 'mean'):
        cfg.update(mean=preprocessor.mean.flatten().tolist(), std=preprocessor.std.flatten().tolist())
    return cfg


def _alike(curve: object, record: dict[str, Any]) -> list[dict]:
    """The records of a curve in a checkpoint, which may come from anywhere, that have the form of a new one."""
    records = curve if isinstance(curve, list) else [curve]
    alike = [each for each in records if _has_form(each, record)]
    if len(alike) < len(records):
        print_log('resume: records of the curve that have another form are forgotten', 'current', logging.WARNING)
    return alike


def _has_form(value: object, other: object) -> bool:
    """Whether a value consists of dictionaries, lists and numbers in the same way as another."""
    if isinstance(other, dict):
        has_keys = isinstance(value, dict) and value.keys() == other.keys()
        return has_keys and all(_has_form(value[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        has_length = isinstance(value, list | tuple) and len(value) == len(other)
        return has_length and all(map(_has_form, value, other))
    return isinstance(value, Real) == isinstance(other, Real) and isinstance(value, Real | str | None)


def _unwrapped(module: nn.Module) -> nn.Module:
    module = unwrap(module)
    while isinstance(module, BaseTTAModel):
        module = unwrap(module.module)
    return module


@contextmanager
def aside(scope: str | None = None) -> Iterator[None]:
    """In a scope of the registries, and with the random numbers that come next afterwards the same as before."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(DefaultScope.overwrite_default_scope(scope))
        yield
