"""Checkpoints that survive a kill at any moment."""

import os
import shutil
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch.distributed.fsdp import FullyShardedDataParallel

PART = '.part'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``; every file is complete or absent, and a good one stays until the next is there.

    mmengine writes a checkpoint under its final name and removes the outdated one (``max_keep_ckpts``, ``save_best``)
    first, so that a kill in between leaves a truncated file, or none. Here a checkpoint is written beside its place and
    moved into it; then ``last_checkpoint`` is replaced, and only then outdated files go. Works for files and for the
    folders that sharded strategies write; paths with a scheme (``s3://``) are left to their backend.

    Two more departures, both needed to continue exactly: gradients that wait for ``accumulative_counts`` are saved and
    restored (averaged over the processes, which is what they become at the next step), and epoch and iteration are what
    this hook says, also with ``FlexibleRunner``, which counts one too many when a best checkpoint is saved.

    Args:
        *args: As :class:`mmengine.hooks.CheckpointHook`.
        initial: Whether to save the weights before the first step, too, as ``iter_0.pth`` or ``epoch_0.pth``: what a
            measurement along the training begins with. They are never removed.
        **kwargs: As :class:`mmengine.hooks.CheckpointHook`.
    """

    _position: dict | None = None
    _gradients: dict | None = None

    def __init__(self, *args, initial: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.initial = initial

    def before_train(self, runner) -> None:
        """Find the folder, and remove what a killed run left half-written there."""
        super().before_train(runner)
        if is_main_process() and _is_local(self.out_dir):
            for path in Path(self.out_dir).glob(f'.*{PART}'):
                _remove(path)
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
        backend = self.file_backend
        self.file_backend = late = _LateRemoval(backend)
        try:
            super()._save_best_checkpoint(_AtomicRunner(runner), metrics)
        finally:
            self.file_backend = backend
        late.remove_now()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        outdated = self._take_outdated(runner, step)
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
        if is_main_process():
            pointer = Path(runner.work_dir, 'last_checkpoint')
            part = pointer.with_name(f'.{pointer.name}{PART}')
            part.write_text(str(self.last_ckpt))
            _move(part, pointer)
            for path in outdated:
                remove = self.file_backend.rmtree if self.file_backend.isdir(path) else self.file_backend.remove
                if self.file_backend.exists(path):
                    remove(path)

    def _take_outdated(self, runner, step: int) -> list[str]:
        """Note ``step`` among the checkpoints to keep; returns the path of the one that it replaces, if any."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = [self.keep_ckpt_ids.popleft()] if full else []
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return [self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)) for old in outdated]


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
        part = f'.{filename}{PART}'
        self._runner.save_checkpoint(out_dir, part, *args, **kwargs)
        barrier()  # every process has written its share of a sharded checkpoint
        if is_main_process():
            _move(Path(out_dir, part), Path(out_dir, filename))


class _LateRemoval:
    """A file backend that notes what is to be removed, until ``remove_now``."""

    def __init__(self, backend) -> None:
        self._backend = backend
        self._marked = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._marked.append((path, self._backend.remove, self._version(path)))

    def rmtree(self, path: str) -> None:
        self._marked.append((path, self._backend.rmtree, self._version(path)))

    def remove_now(self) -> None:
        for path, remove, version in self._marked:
            if version == self._version(path):  # else a new checkpoint has taken the name
                remove(path)

    def _version(self, path: str) -> int | None:
        return Path(path).stat().st_ino if _is_local(path) else None


def _is_local(path: str | Path) -> bool:
    return '://' not in str(path)


def _move(part: Path, path: Path) -> None:
    """Put ``part`` in the place of ``path``, on the disk and not only in memory."""
    if part.is_file():
        with part.open('rb+') as file:
            os.fsync(file.fileno())
    elif path.is_dir():  # a folder cannot replace a folder in one step
        _remove(path)
    part.replace(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


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
