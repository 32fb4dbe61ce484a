"""Checkpoints that survive a kill at any moment."""

import logging
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import IO

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub, print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch.distributed.fsdp import FullyShardedDataParallel

from ..errors import UserError
from ..files import atomic
from . import disk

PART = '.part'
LOCK = '.training.lock'
# Under this key the message hub has the names of the files that a checkpoint replaces. A kill may keep them alive.
OUTDATED = 'outdated_ckpts'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``; every file is complete or absent, and a good one stays until the next is there.

    mmengine writes a checkpoint under its final name and removes the outdated one (``max_keep_ckpts``, ``save_best``)
    first, so that a kill in between leaves a truncated file, or none. Here a checkpoint is written beside its place and
    moved into it; then ``last_checkpoint`` is replaced, and only then outdated files go. A kill in between leaves
    outdated files, which the resumed run removes. Works for files and for the folders that sharded strategies write;
    paths with a scheme (``s3://``) are left to their backend.

    A checkpoint notes which files it replaces. These notes may come from another folder (a copied run) or from someone
    else. The hook takes the names from them and looks for the files in its own folder alone: it never removes a file
    elsewhere, nor one whose name it would not have written. One process at a time writes checkpoints into a folder.

    Two more departures, both needed to continue exactly: gradients that wait for ``accumulative_counts`` are saved and
    restored (averaged over the processes, which is what they become at the next step), and epoch and iteration are what
    this hook says, also with ``FlexibleRunner``, which counts one too many when a best checkpoint is saved.

    Args:
        *args: As :class:`mmengine.hooks.CheckpointHook`.
        initial: Whether to save the weights before the first step, too, as ``iter_0.pth`` or ``epoch_0.pth``: what a
            measurement along the training begins with. They are never removed.
        **kwargs: As :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        UserError: ``filename_tmpl`` names a folder; before training: another process trains in the same folder; while
            training: a checkpoint cannot be written.
    """

    _position: dict | None = None
    _gradients: dict | None = None
    _lock: IO | None = None

    def __init__(self, *args, initial: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.initial = initial
        self._old_best: dict[str, str | None] = {}
        if Path(self.filename_tmpl).name != self.filename_tmpl:
            raise UserError(f'filename_tmpl={self.filename_tmpl!r}: give a file name without a folder (see out_dir)')

    def before_train(self, runner) -> None:
        """Check the notes of a resumed checkpoint, find the folder, and remove what a killed run left there."""
        outdated = self._check_notes(runner.message_hub)
        super().before_train(runner)
        self._find_best(runner.message_hub)
        if is_main_process() and _is_local(self.out_dir):
            self._take_folder()
            if runner._resume and _lies_in(runner._load_from, self.out_dir):
                self._remove_outdated(outdated)
        if self.initial and runner.iter == 0:
            _AtomicRunner(runner).save_checkpoint(
                self.out_dir,
                self.filename_tmpl.format(0),
                self.file_client_args,
                save_optimizer=False,
                save_param_scheduler=False,
                meta=dict(epoch=0, iter=0),
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
            )

    def after_train(self, runner) -> None:
        """Publish the weights if asked to, and let other processes have the folder."""
        super().after_train(runner)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add what the runner does not know to the checkpoint that is about to be written."""
        if self._position is not None:
            checkpoint['meta'].update(self._position)
        if self._gradients:
            checkpoint['gradients'] = self._gradients

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Give the waiting gradients back to the parameters when resuming."""
        gradients = checkpoint.get('gradients')
        if gradients and runner._resume:
            for name, parameter in _plain_model(runner).named_parameters():
                if name in gradients:
                    parameter.grad = gradients[name].to(parameter)

    def _save_checkpoint(self, runner) -> None:
        super()._save_checkpoint(_AtomicRunner(runner))

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if not self.save_best:
            return
        self._old_best = self._best()
        self._set_best({})  # mmengine removes what it finds here before it writes
        super()._save_best_checkpoint(_AtomicRunner(runner), metrics)
        replaced = self._replaced_best()
        self._set_best({key: new or self._old_best.get(key) for key, new in self._best().items()})
        self._old_best = {}
        if is_main_process():
            self._remove_outdated(replaced)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated = self._take_outdated(runner, step) + self._replaced_best()
        runner.message_hub.update_info(OUTDATED, outdated)
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._position, self._gradients = dict(meta), _waiting_gradients(runner)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._position = self._gradients = None
        pointer = Path(runner.work_dir, 'last_checkpoint')
        with _together(pointer):
            if is_main_process():
                with atomic(pointer) as part:
                    part.write_bytes(os.fsencode(self.last_ckpt))
        if is_main_process():
            self._remove_outdated(outdated)

    def _take_outdated(self, runner, step: int) -> list[str]:
        """Note ``step`` among the checkpoints to keep; returns the name of the file that it replaces, if any."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = [self.keep_ckpt_ids.popleft()] if full else []
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return [self.filename_tmpl.format(old) for old in outdated]

    def _best(self) -> dict[str, str | None]:
        """Path of each best checkpoint, or None, by the key that the message hub has it under."""
        if not self.save_best:
            return {}
        if len(self.key_indicators) == 1:
            return dict(best_ckpt=self.best_ckpt_path)
        return {f'best_ckpt_{name}': self.best_ckpt_path_dict.get(name) for name in self.key_indicators}

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths.get('best_ckpt')
        else:
            self.best_ckpt_path_dict = {name: paths.get(f'best_ckpt_{name}') for name in self.key_indicators}

    def _replaced_best(self) -> list[str]:
        """Names of the best checkpoints that have just been bettered."""
        best = self._best()
        return [_name(old) for key, old in self._old_best.items() if old and best.get(key) and best[key] != old]

    def _check_notes(self, hub: MessageHub) -> list[str]:
        """Drop notes that cannot be used; mmengine would format anything into a path, and remove the file.

        Returns:
            Names of files that the checkpoint calls outdated.
        """
        steps, outdated = (_as_list(hub.pop_info(key, None)) for key in ('keep_ckpt_ids', OUTDATED))
        if self.max_keep_ckpts > 0:
            steps = [step for step in steps if type(step) is int and step >= 0]
            outdated += [self.filename_tmpl.format(step) for step in steps[: -self.max_keep_ckpts]]
            hub.update_info('keep_ckpt_ids', steps[-self.max_keep_ckpts :])
        for key in self._best():
            score = hub.get_info(key.replace('ckpt', 'score', 1), 0)
            if not _is_number(score):
                print_log(f'resume: the best score is not a number ({score!r}): forgotten', 'current', logging.WARNING)
                hub.pop_info(key.replace('ckpt', 'score', 1))
        return outdated

    def _find_best(self, hub: MessageHub) -> None:
        """Take the best checkpoint for the file of that name in the run's own folder, wherever it was written."""
        found = {}
        for key, noted in self._best().items():
            path = self.file_backend.join_path(self.out_dir, _name(noted))
            known = _name(noted).startswith('best_') and self._is_ours(_name(noted)) and self.file_backend.exists(path)
            found[key] = path if known else None
            if noted is not None:
                hub.update_info(key, found[key])
        if found:
            self._set_best(found)

    def _take_folder(self) -> None:
        """Keep other trainings out of the folder; remove files that a kill left half-written there."""
        folder = Path(self.out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = self._lock or disk.lock(folder / LOCK)
        except BlockingIOError as error:
            raise UserError(f'another process trains in {folder}: end it, or choose another --work-dir') from error
        if self._lock is not None:
            for path in folder.glob(f'.*{PART}'):
                _remove(path)

    def _remove_outdated(self, names: list[str]) -> None:
        """Remove files of the run's own folder, unless they are in use again or have names of somebody else."""
        used = [self.filename_tmpl.format(step) for step in getattr(self, 'keep_ckpt_ids', ())]
        used += [_name(path) for path in (self.last_ckpt, *self._best().values())]
        for name in filter(self._is_ours, names):
            path = self.file_backend.join_path(self.out_dir, name)
            if name in used:
                continue
            if _is_local(path):
                _remove(Path(path))
            elif self.file_backend.exists(path):
                (self.file_backend.rmtree if self.file_backend.isdir(path) else self.file_backend.remove)(path)

    def _is_ours(self, name) -> bool:
        """Return True for a name that this hook gives to a checkpoint."""
        if not isinstance(name, str) or '/' in name:
            return False
        steps = [0, *map(int, re.findall(r'\d{1,18}', name))]
        plain = [self.filename_tmpl.format(step) for step in steps]
        return any(name == file or (name.startswith('best_') and name.endswith(f'_{file}')) for file in plain)


class _AtomicRunner:
    """The runner as the hook sees it: ``save_checkpoint`` leaves the old file or the new one, never a part of one."""

    def __init__(self, runner) -> None:
        self._runner = runner

    def __getattr__(self, name: str):
        return getattr(self._runner, name)

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        if not _is_local(out_dir):
            self._runner.save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        part, path = Path(out_dir, f'.{filename}{PART}'), Path(out_dir, filename)
        try:
            with _together(path):
                self._runner.save_checkpoint(out_dir, part.name, *args, **kwargs)
            with _together(path):  # every process has written its share of a sharded checkpoint
                if is_main_process():
                    _move(part, path)
        finally:
            if is_main_process():
                _remove(part)


@contextmanager
def _together(path: Path) -> Iterator[None]:
    """Let all processes reach the end of the block; if one cannot write, all of them end, and that one says why.

    Raises:
        UserError: ``path`` cannot be written, in the process that wanted to.
    """
    problem = None
    try:
        yield
    except OSError as error:
        problem = error
    except RuntimeError as error:  # torch.save into a file
        if 'PytorchStreamWriter failed' not in str(error):
            raise
        problem = error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error).splitlines()[0])
    failed = torch.tensor(float(problem is not None))
    all_reduce(failed)
    if problem is not None:
        raise disk.cannot_write(problem, path, disk.GO_ON) from problem
    if failed:
        raise SystemExit(1)


def _is_local(path: str | Path) -> bool:
    return '://' not in str(path)


def _lies_in(path: str | None, folder: str) -> bool:
    return path is not None and _is_local(path) and Path(path).parent.resolve() == Path(folder).resolve()


def _name(path: str | Path | None) -> str:
    return str(path).rsplit('/', 1)[-1]


def _as_list(value) -> list:
    return list(value) if isinstance(value, list | tuple) else []


def _is_number(value) -> bool:
    single = isinstance(value, Real) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    return single and not math.isnan(value)


def _move(part: Path, path: Path) -> None:
    """Put ``part`` in the place of ``path``, on the disk and not only in memory."""
    if part.is_file():
        with part.open('rb+') as file:
            os.fsync(file.fileno())
    elif path.is_dir():  # a folder cannot replace a folder in one step
        _remove(path)
    part.replace(path)


def _remove(path: Path) -> None:
    """Remove a file, a folder with all it holds, or a link but not what it leads to; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _plain_model(runner) -> torch.nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _waiting_gradients(runner) -> dict[str, torch.Tensor]:
    """Gradients accumulated and not applied yet, by parameter name; collective. Sharded ones are left out."""
    wrapper = runner.optim_wrapper
    if getattr(wrapper, '_accumulative_counts', 1) == 1 or wrapper.should_update():
        return {}
    if isinstance(runner.model, FullyShardedDataParallel):
        return {}
    gradients = {}
    for name, parameter in _plain_model(runner).named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad.clone()
            all_reduce(gradient, op='mean')
            gradients[name] = gradient.cpu()
    return gradients
