"""Write one COCO file from a config, a checkpoint and a list of images."""

import os
import signal
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from ..checkpoints.fill import count_weights, fill
from ..checkpoints.read import check_file, read_weights
from ..coco import coco_annotation
from ..datasets.image_list import ImageList, quote
from ..datasets.loading import LIMIT_VARIABLE, pixel_limit
from ..engine.distributed import read_position
from ..engine.launch import model_cfg, type_name
from ..engine.mistakes import building
from ..errors import UserError
from ..files import printable, sha256
from ..progress import Progress
from .images import Batch, ImageBatches, has_content
from .merge import read_images
from .parts import Parts, PendingError

POLL_INTERVAL = 5.0  # seconds
PATIENCE = 600.0  # seconds that the first process waits for a batch; then it does the remaining batches
ROUNDS = 10  # attempts to merge, which fail if images change meanwhile


def make_pseudo_labels(
    cfg: Config, checkpoint: str | None, images: ImageList, out: Path, rank: int = 0, world_size: int = 1
) -> None:
    """Write the instances that a model finds as one COCO file, or continue an interrupted run.

    Process ``rank`` does the batches whose number is ``rank`` modulo ``world_size``. The processes do not communicate.
    The first process waits until all batches are done, and merges them. If nobody else does the remaining batches, it
    does them.

    On one kind of device the file is the same, byte for byte, for any number of processes and interrupts. Each process
    computes with one thread, since the number of threads may change the last bits of a sum.

    A batch counts as done as long as its images keep their content; otherwise it is done again.

    Args:
        cfg: Config. Its ``model`` returns ``pred_instances`` with 'masks' (n, H, W) and 'scores' (n,) in the size of
            the original image. Its ``test_dataloader`` sets the transforms, the batch size and the image workers.
        checkpoint: Path of the weights. None: the config's backbone comes with its weights, and ``cfg.weights_sha256``
            identifies them.
        images: List of images.
        out: COCO file to write. Image ids are positions in the list, from 1; the only category is 'object'.
        rank: Number of this process, from 0.
        world_size: Number of processes.

    Raises:
        UserError: The config or the checkpoint does not fit. ``out`` was begun with other parameters, or is complete
            and its images have changed. The disk is full, or refuses a file.
    """
    torch.set_num_threads(1)
    set_multi_processing()
    name = 'maskcut' if world_size == 1 else f'maskcut[{rank}]'
    with Progress(name, shows_progress=rank == 0) as progress:
        labelling = Labelling(cfg, checkpoint, images, out, progress)
        if rank == 0:
            for folder in images.left_out:
                progress.say(f'folder left out: {folder}')
        labelling.run(rank, world_size)


def forget_unreadable(cfg: Config, checkpoint: str | None, images: ImageList, out: Path) -> int:
    """Let the next run try unreadable images again; no process may be at work now.

    Args: as :func:`make_pseudo_labels`.

    Returns:
        Number of batches that will be done again.

    Raises:
        UserError: ``out`` is complete, or was begun with other parameters.
    """
    parts = Labelling(cfg, checkpoint, images, out, Progress('maskcut')).parts
    if parts.is_merged:
        raise UserError(f'{out} is complete: make another file of the images in {parts.unreadable}')
    has_unreadable = lambda number, records: 'unreadable images' if records['unreadable'] else None  # noqa: E731
    return len(parts.forget(np.arange(parts.total), has_unreadable))


def set_up_process(launcher: str) -> tuple[int, int]:
    """Return the number of this process, from 0, and the number of processes; choose the GPU of this process.

    Args:
        launcher: 'none', 'pytorch' (torchrun, or RANK and WORLD_SIZE set by hand), 'slurm' or 'mpi'.

    Raises:
        UserError: A variable that the launcher sets is missing or wrong.
    """
    if launcher == 'none':
        return 0, 1
    os.environ.setdefault('LOCAL_RANK', '0')
    rank, world_size, local_rank = (int(value) for value in read_position(launcher).values())
    if not 0 <= rank < world_size:
        raise UserError(f'RANK is {rank}: it counts from 0 and stays below WORLD_SIZE, which is {world_size}')
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    return rank, world_size


def image_pipeline(cfg: Config) -> list[dict]:
    """Return the transforms of the config's test data set, without those that load annotations."""
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return [transform for transform in dataset.pipeline if type_name(transform['type']) != 'LoadAnnotations']


class Labelling:
    """Work of one process that labels a list of images.

    Args: See :func:`make_pseudo_labels`; ``progress`` shows the progress.
    """

    def __init__(self, cfg: Config, checkpoint: str | None, images: ImageList, out: Path, progress: Progress) -> None:
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        if 'dataset' not in (cfg.get('test_dataloader') or {}):
            raise UserError('this config has no test_dataloader, which says how images are loaded')
        self.cfg, self.checkpoint, self.images, self.progress = cfg, checkpoint, images, progress
        pipeline = image_pipeline(cfg)
        self.batches = ImageBatches(images, pipeline, cfg.test_dataloader.batch_size)
        parameters = dict(  # all that the result depends on
            description='class-agnostic instances found by MaskCut (tools/maskcut.py)',
            config=Path(cfg.filename).name,
            checkpoint=dict(sha256=sha256(check_file(checkpoint)) if checkpoint else cfg.weights_sha256),
            images=dict(root=str(images.root.resolve()), number=len(images), sha256=images.sha256),
            batch_size=cfg.test_dataloader.batch_size,
            model=model_cfg(cfg),
            pipeline=pipeline,
        )
        self.parts = Parts(out, parameters, len(self.batches))

    def run(self, rank: int, world_size: int) -> None:
        """Do the share of a process. The first process also waits for the others, and merges."""
        parts, say = self.parts, self.progress.say
        if not parts.is_merged:
            if not self._make(rank, world_size):
                say(f'another process has finished {parts.out}')
        elif rank == 0:
            self._check_finished()
            say(f'{parts.out} is complete, nothing to do')
        if parts.is_merged:
            parts.remove()

    def _make(self, rank: int, world_size: int) -> bool:
        """Return False if another process has finished the file meanwhile."""
        parts, say = self.parts, self.progress.say
        share = np.arange(rank, parts.total, world_size)
        for _ in range(ROUNDS):
            if reasons := parts.forget(share, self._find_change):
                say(f'done again: {len(reasons)} batches ({reasons[0]}{", ..." * (len(reasons) > 1)})')
            self._compute(share)
            if parts.is_merged:
                return False
            if rank > 0:
                return True
            share = np.arange(parts.total)[::-1]  # from the end: other processes, if there are any, come from the start
            if not self._wait():
                continue
            say('merging')
            try:
                counts = parts.merge(self._find_change)
            except PendingError as error:
                say(f'not merged: {error}')
                continue
            say(f'{parts.out}: {counts["images"]} images, {counts["annotations"]} masks')
            if counts['unreadable']:
                say(f'unreadable, left out: {counts["unreadable"]} of {len(self.images)}, see {parts.unreadable}')
            return True
        raise UserError(
            f'the images change faster than their masks are made, or another process removes {parts.folder}'
        )

    def _find_change(self, number: int, records: dict) -> str | None:
        limit = pixel_limit()
        if records.get('max_pixels', limit) != limit and (  # it may be another image that is unreadable now
            records['unreadable'] or any(image['height'] * image['width'] > limit for image in records['images'])
        ):
            return f'{LIMIT_VARIABLE} was {records["max_pixels"]} and is {limit}'
        return self.batches.find_change(number, records['files'])

    def _compute(self, share: np.ndarray) -> None:
        """Do the remaining batches of a share, until another process has finished the file."""
        parts, batches, progress = self.parts, self.batches, self.progress
        pending = share[np.isin(share, parts.pending())]
        if not pending.size or parts.is_merged:
            return
        model = load_model(self.cfg, self.checkpoint, progress)
        parts.create()
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=(number for number in pending if not parts.is_done(number)),  # by another process
            num_workers=self.cfg.test_dataloader.get('num_workers', 0),
            worker_init_fn=_leave_interrupts_to_the_parent,
        )
        loaded = iter(loader)  # forks the workers, before the progress bar has a thread that could hold a lock then
        left, empty = batches.count(pending), 0
        progress.begin(total=batches.count(share), done=batches.count(share) - left)
        for batch in loaded:
            for name, reason in batch.unreadable:
                progress.say(f'unreadable, left out: {quote(name)} ({reason})')
            records, empty_here = label_batch(model, batch)
            parts.write(batch.number, records)
            if parts.is_merged:
                return
            empty += empty_here
            progress.advance(len(batch.files))
            left -= len(batch.files)
        if left:
            progress.advance(left)  # by other processes
        if empty:
            progress.say(f'empty masks, left out by this process: {empty}')

    def _wait(self) -> bool:
        """Wait for the other processes; return False if the file is finished, or nobody does the remaining batches."""
        parts, batches, progress = self.parts, self.batches, self.progress
        pending = parts.pending()
        if not pending.size:
            return True
        progress.say('waiting for the other processes')
        progress.begin(total=batches.count(pending), done=0)
        for number in pending:
            if not parts.wait(number, POLL_INTERVAL, PATIENCE):
                if not parts.is_merged:
                    minutes = f'{PATIENCE / 60:.0f} minutes'
                    progress.say(f'nobody did batch {number} in {minutes}; this process does what is left')
                return False
            progress.advance(batches.count(number))
        return True

    def _check_finished(self) -> None:
        """Raise if images have changed since the file was finished.

        An image that is older than the file is not read: each image was checked after the file was written and before
        the file got its name.
        """
        out, root = self.parts.out, self.images.root
        finished = out.stat().st_mtime_ns
        changed = [
            entry['file_name']
            for entry in read_images(out)
            if not has_content(root / entry['file_name'], entry.get('sha256'), finished)
        ]
        if changed:
            raise UserError(
                f'{out} is complete, but {len(changed)} of its images have changed since, first {quote(changed[0])}: '
                f'choose another OUT, or remove {out} and repeat the command'
            )


def load_model(cfg: Config, checkpoint: str | None, progress: Progress) -> BaseModel:
    """Return the config's model on the device, for inference, with all weights from the checkpoint, if there is one.

    Raises:
        UserError: The model cannot be built, or the checkpoint cannot be read or does not fill it.
    """
    with building(cfg):
        model = MODELS.build(model_cfg(cfg))
    if checkpoint and (unused := fill(model, read_weights(checkpoint)).surplus):
        progress.say(f'not used from {printable(checkpoint)}: {count_weights(unused)}')
    return model.to(get_device()).eval()


def label_batch(model: BaseModel, batch: Batch) -> tuple[dict, int]:
    """Return the records of a batch, see :meth:`.parts.Parts.write`, and the number of empty masks, which are left out.

    A trained detector gives some of its boxes an empty mask.
    """
    images, annotations, empty = [], [], 0
    try:
        with torch.no_grad():
            samples = [] if batch.data is None else model.test_step(batch.data)
    except ValueError as error:  # NaN in the features, for one
        raise UserError(str(error)) from error
    for image_id, name, sample in zip(batch.ids, batch.names, samples):
        height, width = sample.ori_shape
        content = batch.files[image_id][-1]
        images.append(dict(id=image_id, file_name=name, height=height, width=width, sha256=content))
        for mask, score in _instances(type(model).__name__, sample, printable(name)):
            if mask.any():
                annotations.append(dict(coco_annotation(mask, label=0), image_id=image_id, score=score))
            else:
                empty += 1
    records = dict(images=images, annotations=annotations, unreadable=batch.unreadable, files=batch.files)
    return dict(records, max_pixels=pixel_limit()), empty


def _instances(model: str, sample: BaseDataElement, name: str) -> list[tuple[np.ndarray, float]]:
    """Return masks (H, W) bool and scores of an image, from masks as a tensor, an array, or run-length codes.

    Raises:
        UserError: There are no masks, or masks of another size or with other values than 0 and 1, or scores that are
            not finite.
    """
    found = sample.get('pred_instances')
    if found is None or 'masks' not in found:
        raise UserError(f'{model} returns no masks: take a detector with a mask head, or a config of configs/maskcut')
    masks, scores = found.masks, found.scores.tolist()
    if isinstance(masks, torch.Tensor):
        masks = masks.cpu().numpy()
    elif isinstance(masks, list):
        from pycocotools.mask import decode  # here: only some detectors need it

        masks = np.array([decode(code) if isinstance(code, dict) else code for code in masks])
    if len(masks) and tuple(masks.shape[1:]) != tuple(sample.ori_shape):
        raise UserError(f'{name}: {model} returns masks of {masks.shape[1:]}, and the image has {sample.ori_shape}')
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise UserError(f'{name}: the masks of {model} are not 0 or 1; a detector of mmdet needs mask_thr_binary=0.5')
    if not np.isfinite(scores).all():
        raise UserError(f'{name}: {model} returns scores that are NaN or inf; check the checkpoint')
    return [*zip(masks.astype(bool), scores)]


def _leave_interrupts_to_the_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
