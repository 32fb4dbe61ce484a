"""From a config, a checkpoint and a list of images to one COCO file."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from ..datasets.layouts import coco_annotation
from ..engine.distributed import read_position
from ..engine.launch import model_cfg, type_name
from ..engine.mistakes import building
from ..errors import UserError
from ..files import printable
from ..models.convert import sha256
from .images import Batch, ImageBatches, ImageList, has_content, quote
from .parts import Check, Parts, PendingError
from .report import Report

POLL_INTERVAL = 5.0  # seconds
PATIENCE = 600.0  # seconds without the batch that is waited for, after which the first process does what is left
ROUNDS = 10  # after which images that still change stop the run


def make_pseudo_labels(
    cfg: Config, checkpoint: str, images: ImageList, out: Path, rank: int = 0, world_size: int = 1
) -> None:
    """Write the instances that a model finds as one COCO file, or go on with it.

    Batch i of the list is done by process i modulo ``world_size``. The processes do not communicate; the first one
    waits until no batch is left, whoever did it, and merges. It does what is left itself if nobody else does. The file
    is the same, byte for byte, however many processes made it and however often they were interrupted, on one kind of
    device: each of them computes with one thread, since the number of threads may change the last bits of a sum.

    A batch counts as done as long as its images have the content that they had. Otherwise it is done again, so that
    the file is that of an uninterrupted run over the images of today.

    Args:
        cfg: Its ``model`` returns ``pred_instances`` with 'masks' (n, H, W) and 'scores' (n,) in the size of the
            original image; its ``test_dataloader`` says how images are loaded, in what batches, by how many workers.
        checkpoint: Path of the weights.
        images: The images.
        out: The file. Image ids are positions in the list, from 1; all instances are of one category, 'object'.
        rank: Number of this process, from 0.
        world_size: Number of processes.

    Raises:
        UserError: The config or the checkpoint does not fit; ``out`` was begun with other parameters, or is complete
            and the images have changed since; the disk is full, or the like.
    """
    torch.set_num_threads(1)
    set_multi_processing()
    batches, parts = _open(cfg, checkpoint, images, out)
    name = 'maskcut' if world_size == 1 else f'maskcut[{rank}]'
    with Report(name, shows_progress=rank == 0) as report:
        if rank == 0:
            for folder in images.left_out:
                report.say(f'folder left out: {folder}')
        if parts.is_merged:
            if rank == 0:
                _check_finished(images, parts)
                report.say(f'{out} is complete, nothing to do')
        elif not _make(_Work(cfg, checkpoint, batches, parts, report), rank, world_size):
            report.say(f'another process has finished {out}')
        if parts.is_merged:
            parts.remove()


def forget_unreadable(cfg: Config, checkpoint: str, images: ImageList, out: Path) -> int:
    """Let batches with unreadable images be done again by the next run; none may be at work now.

    Args: as :func:`make_pseudo_labels`.

    Returns:
        Their number.

    Raises:
        UserError: ``out`` is complete, or was begun with other parameters.
    """
    _, parts = _open(cfg, checkpoint, images, out)
    if parts.is_merged:
        raise UserError(f'{out} is complete: make another file of the images in {parts.unreadable}')
    has_unreadable = lambda number, records: 'unreadable images' if records['unreadable'] else None  # noqa: E731
    return len(parts.forget(np.arange(parts.total), has_unreadable))


def take_place(launcher: str) -> tuple[int, int]:
    """Number of this process, from 0, and number of processes; this process's GPU becomes the current one.

    Args:
        launcher: 'none', or who started the processes: 'pytorch' (torchrun, or RANK and WORLD_SIZE set by hand),
            'slurm' or 'mpi'.

    Raises:
        UserError: The launcher's variables are not set, or make no sense.
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
    """The transforms of the config's test data set but those that load annotations."""
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return [transform for transform in dataset.pipeline if type_name(transform['type']) != 'LoadAnnotations']


def load_model(cfg: Config, checkpoint: str, report: Report) -> BaseModel:
    """The config's model with all its weights from the checkpoint, on the device, for inference.

    Raises:
        UserError: The model cannot be built; the checkpoint cannot be read or does not fill it.
    """
    with building(cfg):
        model = MODELS.build(model_cfg(cfg))
    if unused := fill(model, read_weights(checkpoint)).surplus:
        report.say(f'not used from {printable(checkpoint)}: {count_weights(unused)}')
    return model.to(get_device()).eval()


def _open(cfg: Config, checkpoint: str, images: ImageList, out: Path) -> tuple[ImageBatches, Parts]:
    """What there is to do, and what is done."""
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    if 'dataset' not in (cfg.get('test_dataloader') or {}):
        raise UserError('this config has no test_dataloader, which says how images are loaded')
    pipeline = image_pipeline(cfg)
    batches = ImageBatches(images, pipeline, cfg.test_dataloader.batch_size)
    return batches, Parts(out, _parameters(cfg, checkpoint, images, pipeline), len(batches))


def _parameters(cfg: Config, checkpoint: str, images: ImageList, pipeline: Sequence[dict]) -> dict:
    """All that the result depends on; becomes the ``info`` of the file."""
    return dict(
        description='class-agnostic instances found by MaskCut (tools/maskcut.py)',
        config=Path(cfg.filename).name,
        checkpoint=dict(sha256=sha256(check_file(checkpoint))),
        images=dict(root=str(images.root.resolve()), number=len(images), sha256=images.sha256),
        batch_size=cfg.test_dataloader.batch_size,
        model=model_cfg(cfg),
        pipeline=pipeline,
    )


@dataclass(frozen=True)
class _Work:
    """What a run consists of."""

    cfg: Config
    checkpoint: str
    batches: ImageBatches
    parts: Parts
    report: Report


def _make(work: _Work, rank: int, world_size: int) -> bool:
    """Do this process's share; the first one also waits for the others and merges.

    Returns:
        False if another process has finished the file meanwhile.
    """
    parts = work.parts
    share = np.arange(rank, parts.total, world_size)
    for _ in range(ROUNDS):
        _forget_outdated(work, share)
        _compute(work, share)
        if parts.is_merged:
            return False
        if rank > 0:
            return True
        share = np.arange(parts.total)[::-1]  # from the end: the others, if there are any, come from the start
        if not _wait(work):
            continue
        work.report.say('merging')
        try:
            counts = parts.merge(_change(work.batches))
        except PendingError as error:
            work.report.say(f'not merged: {error}')
        else:
            _say_result(work, counts)
            return True
    raise UserError(f'the images change faster than their masks are made, or another process removes {parts.folder}')


def _change(batches: ImageBatches) -> Check:
    return lambda number, records: batches.find_change(number, records['files'])


def _forget_outdated(work: _Work, share: np.ndarray) -> None:
    """Let batches of the share be done again whose file is damaged, or whose images have changed."""
    reasons = work.parts.forget(share, _change(work.batches))
    if reasons:
        work.report.say(f'done again: {len(reasons)} batches ({reasons[0]}{", ..." * (len(reasons) > 1)})')


def _compute(work: _Work, share: np.ndarray) -> None:
    """Do what is left of a share, until another process has finished the file."""
    cfg, batches, parts, report = work.cfg, work.batches, work.parts, work.report
    pending = share[np.isin(share, parts.pending())]
    if not pending.size or parts.is_merged:
        return
    model = load_model(cfg, work.checkpoint, report)
    parts.create()
    workers = cfg.test_dataloader.get('num_workers', 0)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=_undone(parts, pending),
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_parent,
    )
    loaded = iter(loader)  # forks the workers, before the report has a thread that could hold a lock then
    left = batches.count(pending)
    report.begin(total=batches.count(share), done=batches.count(share) - left)
    empty = 0
    for batch in loaded:
        for name, reason in batch.unreadable:
            report.say(f'unreadable, left out: {quote(name)} ({reason})')
        records, empty_here = _records(model, batch)
        parts.write(batch.number, _with_contents(records, batch.files))
        if parts.is_merged:
            return
        empty += empty_here
        report.advance(len(batch.files))
        left -= len(batch.files)
    if left:
        report.advance(left)  # which other processes have done
    if empty:
        report.say(f'empty masks, left out by this process: {empty}')


def _undone(parts: Parts, numbers: np.ndarray) -> Iterator[int]:
    """Those of the batches that no other process has done when their turn comes."""
    return (number for number in numbers if not parts.is_done(number))


def _with_contents(records: dict[str, list], files: dict[int, list | None]) -> dict:
    """The records of a batch, with what tells later whether its images are the same."""
    images = [dict(image, sha256=files[image['id']][-1]) for image in records['images']]
    return dict(records, images=images, files=files)


def _wait(work: _Work) -> bool:
    """Wait for the other processes; False if the file is finished, or nobody does what is left."""
    batches, parts, report = work.batches, work.parts, work.report
    pending = parts.pending()
    if not pending.size:
        return True
    report.say('waiting for the other processes')
    report.begin(total=batches.count(pending), done=0)
    for number in pending:
        if not parts.wait(number, POLL_INTERVAL, PATIENCE):
            if not parts.is_merged:
                report.say(f'nobody did batch {number} in {PATIENCE / 60:.0f} minutes; this process does what is left')
            return False
        report.advance(batches.count(number))
    return True


def _say_result(work: _Work, counts: dict[str, int]) -> None:
    parts, report, total = work.parts, work.report, len(work.batches.images)
    report.say(f'{parts.out}: {counts["images"]} images, {counts["annotations"]} masks')
    if counts['unreadable']:
        report.say(f'unreadable, left out: {counts["unreadable"]} of {total}, see {parts.unreadable}')


def _check_finished(images: ImageList, parts: Parts) -> None:
    """Raise if images have changed since the file was finished.

    Of an image whose times are older than the file's, the content is not read: when the file was written, and before
    it got its name, each image had the content that it stands for.
    """
    finished = parts.out.stat().st_mtime_ns
    changed = [
        entry['file_name']
        for entry in parts.entries()
        if not has_content(images.root / entry['file_name'], entry.get('sha256'), finished)
    ]
    if changed:
        raise UserError(
            f'{parts.out} is complete, but {len(changed)} of its images have changed since, first {quote(changed[0])}: '
            f'choose another OUT, or remove {parts.out} and repeat the command'
        )


def _records(model: BaseModel, batch: Batch) -> tuple[dict[str, list], int]:
    """What becomes of a batch: images and annotations as COCO has them, and what could not be read.

    The second value is the number of empty masks, which are left out: a trained detector gives some of its boxes none.
    """
    records = dict(images=[], annotations=[], unreadable=batch.unreadable)
    if batch.data is None:
        return records, 0
    try:
        with torch.no_grad():
            samples = model.test_step(batch.data)
    except ValueError as error:  # NaN in the features, for one
        raise UserError(str(error)) from error
    empty = 0
    for image_id, name, sample in zip(batch.ids, batch.names, samples):
        height, width = sample.ori_shape
        records['images'].append(dict(id=image_id, file_name=name, height=height, width=width))
        for mask, score in _instances(type(model).__name__, sample, printable(name)):
            if mask.any():
                records['annotations'].append(dict(coco_annotation(mask, label=0), image_id=image_id, score=score))
            else:
                empty += 1
    return records, empty


def _instances(model: str, sample: BaseDataElement, name: str) -> list[tuple[np.ndarray, float]]:
    """Masks (H, W) bool and scores of an image, from masks as a tensor, an array, or run-length codes.

    Raises:
        UserError: The model has no masks, or they are not of the original image's size, or not of two values; or a
            score is not finite.
    """
    found = sample.get('pred_instances')
    if found is None or 'masks' not in found:
        raise UserError(f'{model} returns no masks: take a detector with a mask head, or a config of configs/maskcut')
    masks, scores = found.masks, found.scores.tolist()
    if isinstance(masks, torch.Tensor):
        masks = masks.cpu().numpy()
    elif isinstance(masks, list):
        from pycocotools.mask import decode  # here: whoever only lists images needs no pycocotools

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
