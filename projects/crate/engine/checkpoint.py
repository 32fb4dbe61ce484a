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
from mmengine.registry import HOOKS
from torch.distributed.fsdp import FullyShardedDataParallel

from ..errors import UserError
from ..files import atomic
from ..models.unwrap import unwrap
from . import disk

PART = '.part'
LOCK = '.training.lock'
# Under this key the message hub has the names of the files that a checkpoint replaces. A kill may keep them alive.
OUTDATED = 'outdated_ckpts'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``; every file is complete or absent, and a good one stays until the next is there.

    mmengine removes the outdated checkpoint (``max_keep_ckpts``, ``save_best``) and then writes the next one under its
    final name. A kill in between leaves a truncated file, or none. This hook writes beside the final place, moves the
    file there, replaces ``last_checkpoint``, and only then removes outdated files. A kill in between leaves outdated
    files, which the resumed run removes. Files and folders of shards are treated alike; paths with a scheme
    (``s3://``) are left to their backend.

    A file backend with an atomic ``put`` cannot do this: mmengine asks it to remove before it writes, writes
    ``last_checkpoint`` without it, and strategies write shards without it.

    A checkpoint notes which files it replaces. Its notes may come from a copied run or from an attacker. The hook takes
    only names from them, looks in its own folder alone, and removes only names that it gives to checkpoints itself. One
    process at a time writes checkpoints into a folder.

    Two more departures let a run continue exactly. Gradients that wait for ``accumulative_counts`` are saved and
    restored (averaged over the processes, as the next step does). Epoch and iteration are also right with
    ``FlexibleRunner``, which counts one too many when a best checkpoint is saved.

    Args:
        *args: Arguments of :class:`mmengine.hooks.CheckpointHook`.
        initial: Also save the weights before the first step, as ``iter_0.pth`` or ``epoch_0.pth``: measurements along
            the training begin with them. They are never removed.
        **kwargs: Arguments of :class:`mmengine.hooks.CheckpointHook`.

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
        if Path(self.filename_tmpl).name != self.filename_tmpl:
            raise UserError(f'filename_tmpl={self.filename_tmpl!r}: give a file name without a folder (see out_dir)')

    def before_train(self, runner) -> None:
        """Check the notes of a resumed checkpoint, find the folder, and remove leftovers of a killed run."""
        outdated = self._check_notes(runner.message_hub)
        super().before_train(runner)
        self.file_backend = _LateRemoval(self.file_backend)
        self._find_best(runner.message_hub)
        if is_main_process() and _is_local(self.out_dir):
            self._take_folder()
            source = runner._load_from if runner._resume else None
            if source and _is_local(source) and Path(source).parent.resolve() == Path(self.out_dir).resolve():
                self._remove_outdated(outdated)
        if self.initial and runner.iter == 0:
            meta = dict(epoch=0, iter=0)
            self._save(_AtomicRunner(runner), 0, meta, save_optimizer=False, save_param_scheduler=False)

    def after_train(self, runner) -> None:
        """Publish the weights if asked to, and let other processes have the folder."""
        super().after_train(runner)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add entries that the runner does not know to the checkpoint before it is written."""
        if self._position is not None:
            checkpoint['meta'].update(self._position)
        if self._gradients:
            checkpoint['gradients'] = self._gradients

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Give the waiting gradients back to the parameters when resuming."""
        gradients = checkpoint.get('gradients')
        if gradients and runner._resume:
            for name, parameter in unwrap(runner.model).named_parameters():
                if name in gradients:
                    parameter.grad = gradients[name].to(parameter)

    def _save_checkpoint(self, runner) -> None:
        super()._save_checkpoint(_AtomicRunner(runner))

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if self.save_best:
            super()._save_best_checkpoint(_AtomicRunner(runner), metrics)
            self._remove_outdated(self.file_backend.noted)  # left over if no other checkpoint was saved
            self.file_backend.noted.clear()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated, self.file_backend.noted = self.file_backend.noted, []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        runner.message_hub.update_info(OUTDATED, outdated)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._position, self._gradients = dict(meta), _waiting_gradients(runner)
        self._save(runner, step, meta, self.save_optimizer, self.save_param_scheduler, **self.args)
        self._position = self._gradients = None
        pointer = Path(runner.work_dir, 'last_checkpoint')
        with _together(pointer):
            if is_main_process():
                with atomic(pointer) as part:
                    part.write_bytes(os.fsencode(self.last_ckpt))
        self._remove_outdated(outdated)

    def _save(self, runner, step: int, meta: dict, save_optimizer: bool, save_param_scheduler: bool, **args) -> None:
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **args,
        )

    def _best(self) -> dict[str, str | None]:
        """Return the path of each best checkpoint, or None, by its key in the message hub."""
        if not self.save_best:
            return {}
        if len(self.key_indicators) == 1:
            return dict(best_ckpt=self.best_ckpt_path)
        return {f'best_ckpt_{name}': self.best_ckpt_path_dict.get(name) for name in self.key_indicators}

    def _check_notes(self, hub: MessageHub) -> list[str]:
        """Drop notes that cannot be used; mmengine would format anything into a path, and remove the file.

        Returns:
            Names of files that the checkpoint calls outdated.
        """
        notes = (hub.pop_info(key, None) for key in ('keep_ckpt_ids', OUTDATED))
        steps, outdated = ([*note] if isinstance(note, list | tuple) else [] for note in notes)
        if self.max_keep_ckpts > 0:
            steps = [step for step in steps if type(step) is int and step >= 0]
            outdated += [self.filename_tmpl.format(step) for step in steps[: -self.max_keep_ckpts]]
            hub.update_info('keep_ckpt_ids', steps[-self.max_keep_ckpts :])
        for key in (key.replace('ckpt', 'score', 1) for key in self._best()):
            if not _is_number(score := hub.get_info(key, 0)):
                print_log(f'resume: the best score is not a number ({score!r}): forgotten', 'current', logging.WARNING)
                hub.pop_info(key)
        return outdated

    def _find_best(self, hub: MessageHub) -> None:
        """Take the best checkpoint for the file of that name in the run's own folder, wherever it was written."""
        for key, noted in self._best().items():
            path = self.file_backend.join_path(self.out_dir, _name(noted))
            known = _name(noted).startswith('best_') and self._is_ours(_name(noted)) and self.file_backend.exists(path)
            found = path if known else None
            if noted is not None:
                hub.update_info(key, found)
            if key == 'best_ckpt':
                self.best_ckpt_path = found
            else:
                self.best_ckpt_path_dict[key.removeprefix('best_ckpt_')] = found

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
        if not is_main_process():
            return
        used = [self.filename_tmpl.format(step) for step in getattr(self, 'keep_ckpt_ids', ())]
        used += [_name(path) for path in (self.last_ckpt, *self._best().values())]
        for name in filter(self._is_ours, names):
            path = self.file_backend.join_path(self.out_dir, name)
            if name in used:
                continue
            if _is_local(path):
                _remove(Path(path))
            elif self.file_backend.exists(path):
                backend = self.file_backend.backend
                (backend.rmtree if backend.isdir(path) else backend.remove)(path)

    def _is_ours(self, name) -> bool:
        """Return True for a name that this hook gives to a checkpoint."""
        if not isinstance(name, str) or '/' in name:
            return False
        steps = [0, *map(int, re.findall(r'\d{1,18}', name))]
        plain = [self.filename_tmpl.format(step) for step in steps]
        return any(name == file or (name.startswith('best_') and name.endswith(f'_{file}')) for file in plain)


class _LateRemoval:
    """The file backend, but it only notes the files that mmengine removes before it writes."""

    def __init__(self, backend) -> None:
        self.backend, self.noted = backend, []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.noted.append(_name(path))

    rmtree = remove


class _AtomicRunner:
    """The runner, but ``save_checkpoint`` leaves the old file or the new one, never a part of one."""

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


def _name(path: str | Path | None) -> str:
    return str(path).rsplit('/', 1)[-1]


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
    """Remove a file, a folder with its content, or a link (not its target), if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _waiting_gradients(runner) -> dict[str, torch.Tensor]:
    """Return accumulated gradients that were not applied yet, by parameter name; collective, without sharded ones."""
    wrapper = runner.optim_wrapper
    if getattr(wrapper, '_accumulative_counts', 1) == 1 or wrapper.should_update():
        return {}
    if isinstance(runner.model, FullyShardedDataParallel):
        return {}
    gradients = {}
    for name, parameter in unwrap(runner.model).named_parameters():
        if parameter.grad is not None:
            gradient = parameter.grad.clone()
            all_reduce(gradient, op='mean')
            gradients[name] = gradient.cpu()
    return gradients
