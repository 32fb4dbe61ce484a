"""Base of the hooks that measure the backbone beside a training, without changing the training."""

import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook, IterTimerHook
from mmengine.logging import print_log
from mmengine.registry import FUNCTIONS, DefaultScope
from mmengine.runner import IterBasedTrainLoop, Runner
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from ..errors import ArgumentError, FileError, UnknownKeyError
from ..files import atomic
from .mistakes import is_named, missing_file
from .model_parts import averaged_model, find_module, normalisation_of, without_wrappers


class MeasuringHook(Hook):
    """Measure the backbone every few epochs or iterations, log the result, and extend a curve.

    The training does not change: weights, optimiser, random numbers, modes of the layers and order of the data are bit
    for bit as without this hook. Its time is not counted as training.

    Each measurement rewrites ``{work_dir}/{name}/curve.json``, ``[{"step": n, ...}, ...]``; n counts the epochs or
    iterations done. The log gets a line. Every backend of the run's visualizer gets the scalars as ``{name}/{scalar}``
    at step n. The checkpoint keeps the curve, so that a resumed run continues it. The last epoch or iteration is
    measured, too.

    A subclass defines :meth:`build` and :meth:`measure`, and may define the methods after them.

    Args:
        name: Name of the folder and prefix of the scalars; two hooks in one run need two names.
        draw: Name of the drawing function in mmengine's ``FUNCTIONS``; None draws nothing.
        interval: Number of epochs or iterations between two measurements.
        by_epoch: Whether ``interval`` counts epochs; a run by iterations needs False.
        initial: Also measure before the first iteration, as step 0.
        backbone: Dotted name of the backbone within the model, for example 'student.backbone'.
        use_ema: Measure the weights averaged by mmengine's ``EMAHook``.
        data_preprocessor: Config; default is the normalisation and the channel order that the model trains with.

    Raises:
        ValueError: ``interval`` is less than 1. Before training: there is no such backbone or no ``EMAHook``; FSDP has
            sharded the weights; or the training loop has no epochs to count.
        KeyError: Before training: there is no such drawing function.
    """

    priority = 'LOW'  # after the EMA and the log of the iteration, before the checkpoint that keeps the curve
    scope: str | None = None  # where names in configs are looked up; None: in the scope of the run
    _loader: DataLoader

    def __init__(
        self,
        name: str,
        draw: str | None,
        interval: int = 1,
        by_epoch: bool = True,
        initial: bool = False,
        backbone: str = 'backbone',
        use_ema: bool = False,
        data_preprocessor: dict | None = None,
    ) -> None:
        if interval < 1:
            raise ArgumentError(f'{type(self).__name__}: interval must be at least 1, not {interval}')
        self.name = name
        self.draw = draw
        self.interval = interval
        self.by_epoch = by_epoch
        self.unit = 'epoch' if by_epoch else 'iter'
        self.initial = initial
        self.backbone = backbone
        self.use_ema = use_ema
        self.data_preprocessor = data_preprocessor

    def build(self, runner: Runner) -> None:
        """Build all that :meth:`measure` needs, with ``self._loader`` over its images; called before training."""
        raise NotImplementedError

    def measure(self) -> tuple[dict[str, Any], Any]:
        """Return the entry of the curve, and arrays for :meth:`save_pictures`.

        Called in all processes; the curve of the main process counts.
        """
        raise NotImplementedError

    def scalars(self, metrics: dict[str, Any]) -> dict[str, float]:
        """Return the scalars for the visualizer."""
        return metrics

    def summary(self, metrics: dict[str, Any]) -> str:
        """Return the text for the log."""
        return '  '.join(f'{key}: {value:.4f}' for key, value in metrics.items())

    def save_pictures(self, runner: Runner, folder: Path, step: int, curve: list[dict], arrays: Any) -> None:
        """Write the pictures of ``draw`` into ``folder``; called in the main process."""

    def save_picture(self, runner: Runner, folder: Path, step: int, arrays: Sequence) -> None:
        """Write the picture that ``draw`` makes of (image, array) pairs, and give it to the visualizer."""
        picture = find_function(self.draw)(*zip(*arrays))
        with atomic(folder / f'{self.unit}_{step}.png') as part:
            Image.fromarray(picture).save(part, format='png')
        runner.visualizer.add_image(self.name, picture, step=step)

    def before_train(self, runner: Runner) -> None:
        """Build everything, so that a mistake shows now; measure the untrained model if asked to."""
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ArgumentError(f'{type(self).__name__}: this run counts iterations, not epochs: set by_epoch=False')
        if self.draw is not None:
            find_function(self.draw)
        with undisturbed(self.scope):
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
        """Measure, log and visualise; return the result of :meth:`measure`."""
        start = time.perf_counter()
        metrics, arrays = self.measure()
        count = f'{len(self._loader.dataset)} images in {time.perf_counter() - start:.1f} s'
        runner.logger.info(f'{self.name} [{when}]  {self.summary(metrics)}  ({count})')
        scalars = {f'{self.name}/{key}': value for key, value in self.scalars(metrics).items()}
        runner.visualizer.add_scalars(scalars, step=step)
        return metrics, arrays

    def build_loader(self, runner: Runner, dataloader: dict) -> DataLoader:
        """Build the loader of a config; its sampler, if none is given, takes the images in order.

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
        """Return the backbone, with averaged weights or not, and the config of its normalisation."""
        backbone = find_module(averaged_model(runner) if averaged else runner.model, self.backbone)
        model = without_wrappers(runner.model)
        return backbone, self.data_preprocessor or normalisation_of(model.data_preprocessor)

    def _extend(self, runner: Runner, step: int) -> None:
        with undisturbed(self.scope):
            metrics, arrays = self.report(runner, step, f'{self.unit} {step}')
            key = f'{self.name}_curve'
            record = dict(step=step, **metrics)
            curve = [*_alike(runner.message_hub.get_info(key, []), record), record]
            runner.message_hub.update_info(key, curve)  # every checkpoint takes it along
            if is_main_process():
                folder = Path(runner.work_dir, self.name)
                folder.mkdir(exist_ok=True)
                with atomic(folder / 'curve.json') as part:
                    part.write_text(json.dumps(curve))
                if self.draw is not None:
                    self.save_pictures(runner, folder, step, curve, arrays)
        restart_clock(runner)


def find_function(name: str) -> Callable:
    """Return a function of mmengine's ``FUNCTIONS`` by its name; raise KeyError if there is none."""
    if (function := FUNCTIONS.get(name)) is None:
        raise UnknownKeyError(f"{name}: no function of this name is registered in mmengine's FUNCTIONS")
    return function


def _alike(curve: object, record: dict[str, Any]) -> list[dict]:
    """Return the records that have the form of a new one; the checkpoint may come from anywhere."""
    records = curve if isinstance(curve, list) else [curve]
    alike = [each for each in records if _has_form(each, record)]
    if len(alike) < len(records):
        print_log('resume: records of the curve that have another form are forgotten', 'current', logging.WARNING)
    return alike


def _has_form(value: object, other: object) -> bool:
    """Return True if two values have the same form of dictionaries, lists and numbers."""
    if isinstance(other, dict):
        has_keys = isinstance(value, dict) and value.keys() == other.keys()
        return has_keys and all(_has_form(value[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        has_length = isinstance(value, list | tuple) and len(value) == len(other)
        return has_length and all(map(_has_form, value, other))
    return isinstance(value, Real) == isinstance(other, Real) and isinstance(value, Real | str | None)


def restart_clock(runner: Runner) -> None:
    """Do not count the time since the last iteration as waiting for data."""
    for hook in runner.hooks:
        if isinstance(hook, IterTimerHook):
            hook.before_train_epoch(runner)


@contextmanager
def undisturbed(scope: str | None = None) -> Iterator[None]:
    """Enter a scope of the registries, and restore the state of all random generators at the end."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(DefaultScope.overwrite_default_scope(scope))
        yield
