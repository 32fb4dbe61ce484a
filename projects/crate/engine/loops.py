"""Train loops that resume in the middle of an epoch without loading again what was already seen.

mmengine's epoch loop starts an interrupted epoch again; its iteration loop loads every past batch and throws it away.
The order of samples depends on the seed and the epoch alone. Both loops here therefore walk over the indices of the
past batches, which only the batch sampler gives, and load none of them.

Random numbers of augmentations and dropout are not restored. A run without them ends in the same weights, bit for bit,
whether it was interrupted or not.
"""

import itertools
import logging
from collections.abc import Iterator

from mmengine.dataset import DefaultSampler
from mmengine.dist import get_world_size
from mmengine.logging import MessageHub, print_log
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from ..errors import ArgumentTypeError, UnsupportedError
from ..files import printable

# Key of the message hub, and so of every checkpoint, for the meaning of a batch number in this run.
GEOMETRY = 'train_geometry'
# Largest numbers there. Past batches are counted one by one, and a forged number must not make that last for hours.
LIMITS = dict(batches=2**31, samples=2**20, shift=2**24)


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which after a resume continues within the epoch, at the next batch.

    It needs checkpoints within epochs: ``CheckpointHook(by_epoch=False, interval=...)``. If the number of batches per
    epoch has changed since the checkpoint, the loop skips the same share of the epoch. It then counts iterations anew,
    with a warning.

    Args: See :class:`mmengine.runner.EpochBasedTrainLoop`.

    Raises:
        UserError: The checkpoint is of a training by iterations.
    """

    def run(self):
        """Train, and return the model."""
        self._done = self._batches_done()
        return super().run()

    def run_epoch(self) -> None:
        """Train one epoch, or the rest of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done, self._done = self._done, 0
        for index, batch in enumerate(skip_batches(self.dataloader, done), start=done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches_done(self) -> int:
        """Return the number of batches of the current epoch that the checkpoint has seen."""
        hub, length = self.runner.message_hub, len(self.dataloader)
        saved = hub.get_info(GEOMETRY)
        if self._epoch == 0 and isinstance(saved, dict) and 'shift' in saved:  # no epoch counts: all would follow
            file = printable(self.runner._load_from or '')
            raise UnsupportedError(
                f'{file}: a training by epochs cannot continue from it, the checkpoint of a training by iterations; '
                f'restore the config, or start from the weights with --cfg-options load_from={file}'
            )
        now = dict(batches=length, samples=samples_per_step(self.dataloader))
        then = _swap_geometry(hub, now)
        done = self._iter - self._epoch * then['batches']
        if then != now:
            done = min(max(done * then['samples'] // now['samples'], 0), length)
            self._iter = self._epoch * length + done
        return min(max(done, 0), length)


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, which after a resume continues at the next batch and loads no past batch.

    If the number of samples per iteration has changed since the checkpoint, as many samples as were seen are skipped,
    with a warning.

    Args: as :class:`mmengine.runner.IterBasedTrainLoop`.
    """

    def __init__(self, runner, dataloader: DataLoader | dict, *args, **kwargs) -> None:
        BaseLoop.__init__(self, runner, dataloader)
        loader = self.dataloader
        # The parent starts iterating here, and workers would load the first batches; it gets a loader without any.
        super().__init__(runner, DataLoader(loader.dataset, batch_sampler=()), *args, **kwargs)
        self.dataloader = loader

    def run(self):
        """Train, and return the model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        done = self._batches_done() if self._iter < self._max_iters else 0  # else no batch is asked for
        self.dataloader_iterator = BatchStream(self.dataloader, done)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches_done(self) -> int:
        """Return the number of batches to skip; iterations keep their numbers, so a new batch size leaves a shift."""
        hub, samples = self.runner.message_hub, samples_per_step(self.dataloader)
        then = _swap_geometry(hub, dict(samples=samples, shift=0))
        done = max((self._iter + then['shift']) * then['samples'] // samples, 0)
        hub.update_info(GEOMETRY, dict(samples=samples, shift=done - self._iter))
        return done


class BatchStream:
    """Yield the batches of a loader without end, epoch after epoch, from batch number ``start`` on.

    The samples of the batches before are not loaded.
    """

    def __init__(self, loader: DataLoader, start: int = 0) -> None:
        self._loader = loader
        self._epoch = 0
        samplers = loader.sampler, getattr(loader.batch_sampler, 'sampler', None)
        self._sampler = next((sampler for sampler in samplers if hasattr(sampler, 'set_epoch')), None)
        self._batches = iter(self._after(start))

    def __iter__(self) -> Iterator:
        return self

    def __next__(self):
        try:
            return next(self._batches)
        except StopIteration:
            self._begin_epoch()
            self._batches = iter(self._loader)
            return next(self._batches)

    def _after(self, start: int) -> DataLoader:
        # past epochs need no walk where each has one length, and an order that depends on its number
        if isinstance(self._sampler, DefaultSampler) and type(self._loader.batch_sampler) is BatchSampler:
            epochs, start = divmod(start, len(self._loader))
            self._begin_epoch(epochs)
        if start == 0:
            return self._loader
        indices = _index_batches(self._loader)
        for _ in range(start):
            if next(indices, None) is None:
                self._begin_epoch()
                indices = _index_batches(self._loader)
                next(indices)
        return _with_batches(self._loader, indices)

    def _begin_epoch(self, number: int = 1) -> None:
        self._epoch += number
        if self._sampler:
            self._sampler.set_epoch(self._epoch)


def skip_batches(loader: DataLoader, count: int) -> DataLoader:
    """Return the epoch of ``loader`` without its first ``count`` batches, whose samples are not loaded.

    Args:
        loader: Loader over a map-style dataset, its sampler already set to the epoch.
        count: Number of batches, at most ``len(loader)``. For 0 the loader itself is returned.

    Raises:
        TypeError: The loader has no batches of indices to skip, as over an ``IterableDataset``.
    """
    if count == 0:
        return loader
    return _with_batches(loader, itertools.islice(_index_batches(loader), count, None))


def samples_per_step(loader: DataLoader) -> int:
    """Return the number of samples in one iteration of all processes together."""
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    return (size if isinstance(size, int) else sum(size)) * get_world_size()


def _index_batches(loader: DataLoader) -> Iterator:
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        raise ArgumentTypeError(
            f'resume: past batches of {type(loader.dataset).__name__} cannot be skipped, they have no indices'
        )
    return iter(loader.batch_sampler)


def _with_batches(loader: DataLoader, indices: Iterator) -> DataLoader:
    names = ('num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn', 'multiprocessing_context')
    settings = {name: getattr(loader, name) for name in (*names, 'generator', 'prefetch_factor')}
    return DataLoader(loader.dataset, batch_sampler=indices, **settings)


def _swap_geometry(hub: MessageHub, now: dict) -> dict:
    """Record the geometry of batches of this run; return the one of the checkpoint's run, or ``now``."""
    then = hub.get_info(GEOMETRY, now)
    if not _is_geometry(then):
        print_log(f'resume: {GEOMETRY} of the checkpoint cannot be used: forgotten', 'current', logging.WARNING)
        then = now
    if then.keys() != now.keys():  # the other kind of loop
        then = now
    hub.update_info(GEOMETRY, now)
    if any(then[key] != now[key] for key in now if key != 'shift'):
        print_log(
            f'resume: the checkpoint was saved with {then} and this run has {now}: it continues at the same share of '
            'the data, but not with the same batches; schedules by iteration keep their old length',
            logger='current',
            level=logging.WARNING,
        )
    return then


def _is_geometry(value: object) -> bool:
    return isinstance(value, dict) and all(
        key in LIMITS and type(number) is int and (number > 0 or key == 'shift') and abs(number) <= LIMITS[key]
        for key, number in value.items()
    )
