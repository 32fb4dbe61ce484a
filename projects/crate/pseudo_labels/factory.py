"""From a config, a checkpoint and a list of images to one COCO file."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from ..checkpoints.fill import count_weights, fill
from ..checkpoints.read import check_file, read_weights
from ..datasets.layouts import coco_annotation
from ..engine.distributed import read_position
from ..engine.launch import model_cfg, type_name
from ..errors import UserError, explain
from ..models.convert import sha256
from .images import Batch, ImageBatches, ImageList
from .parts import Parts
from .report import Report

POLL_INTERVAL = 5.0  # seconds


def make_pseudo_labels(
    cfg: Config, checkpoint: str, images: ImageList, out: Path, rank: int = 0, world_size: int = 1
) -> None:
    """Write the instances that a model finds as one COCO file, or go on with it.

    Batch i of the list is done by process i modulo ``world_size``. The processes do not communicate; the first one
    waits until no batch is left, whoever did it, and merges. The file is the same, byte for byte, however many
    processes made it and however often they were interrupted, on one kind of device: each of them computes with one
    thread, since the number of threads may change the last bits of a sum.

    Args:
        cfg: Its ``model`` returns ``pred_instances`` with 'masks' (n, H, W) and 'scores' (n,) in the size of the
            original image; its ``test_dataloader`` says how images are loaded, in what batches, by how many workers.
        checkpoint: Path of the weights.
        images: The images.
        out: The file. Image ids are positions in the list, from 1; all instances are of one category, 'object'.
        rank: Number of this process, from 0.
        world_size: Number of processes.

    Raises:
        UserError: The config or the checkpoint does not fit, or ``out`` was begun with other parameters.
    """
    torch.set_num_threads(1)
    set_multi_processing()
    batches, parts = _open(cfg, checkpoint, images, out)
    name = 'maskcut' if world_size == 1 else f'maskcut[{rank}]'
    with Report(name, shows_progress=rank == 0) as report:
        if not parts.is_merged:
            _work(cfg, checkpoint, batches, parts, rank, world_size, report)
        if rank == 0:
            _finish(batches, parts, report)


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
    return parts.forget_unreadable()


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
    try:
        rank, world_size, local_rank = (int(value) for value in read_position(launcher).values())
    except KeyError as error:
        raise UserError(error.args[0]) from error
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
    try:
        model = MODELS.build(model_cfg(cfg))
    except (TypeError, ValueError, LookupError, ImportError) as error:  # of the registry, a backbone, a missing extra
        raise UserError(explain(error)) from error
    if unused := fill(model, read_weights(checkpoint)).surplus:
        report.say(f'not used from {checkpoint}: {count_weights(unused)}')
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


def _work(
    cfg: Config, checkpoint: str, batches: ImageBatches, parts: Parts, rank: int, world_size: int, report: Report
) -> None:
    """Do what is left of this process's share."""
    share = np.arange(rank, len(batches), world_size)
    pending = np.intersect1d(share, parts.pending())
    if not pending.size:
        return
    model = load_model(cfg, checkpoint, report)
    parts.create()
    workers = cfg.test_dataloader.get('num_workers', 0)
    loader = DataLoader(
        batches, batch_size=None, sampler=pending, num_workers=workers, worker_init_fn=_leave_interrupts_to_the_parent
    )
    loaded = iter(loader)  # forks the workers, before the report has a thread that could hold a lock then
    report.begin(total=batches.count(share), done=batches.count(share) - batches.count(pending))
    for batch in loaded:
        for name, reason in batch.unreadable:
            report.say(f'unreadable, left out: {name} ({reason})')
        parts.write(batch.number, _records(model, batch))
        report.advance(len(batch.names) + len(batch.unreadable))


def _finish(batches: ImageBatches, parts: Parts, report: Report) -> None:
    """Wait for the other processes, merge, and say what came out."""
    if parts.is_merged:
        report.say(f'{parts.out} is complete, nothing to do')
        parts.remove()
        return
    pending = parts.pending()
    if pending.size:
        report.say('waiting for the other processes')
        report.begin(total=batches.count(pending), done=0)
        for number in pending:
            parts.wait(number, POLL_INTERVAL)
            report.advance(batches.count(number))
    report.say('merging')
    counts = parts.merge()
    report.say(f'{parts.out}: {counts["images"]} images, {counts["annotations"]} masks')
    if counts['unreadable']:
        report.say(f'unreadable, left out: {counts["unreadable"]} of {len(batches.images)}, see {parts.unreadable}')


def _records(model: BaseModel, batch: Batch) -> dict[str, list]:
    """What becomes of a batch: images and annotations as COCO has them, and what could not be read."""
    records = dict(images=[], annotations=[], unreadable=batch.unreadable)
    if batch.data is None:
        return records
    try:
        with torch.no_grad():
            samples = model.test_step(batch.data)
    except ValueError as error:  # NaN in the features, for one
        raise UserError(str(error)) from error
    for image_id, name, sample in zip(batch.ids, batch.names, samples):
        instances = sample.get('pred_instances')
        if instances is None or 'masks' not in instances:
            raise UserError(f'{type(model).__name__} returns no masks: take a config of configs/maskcut')
        height, width = sample.ori_shape
        records['images'].append(dict(id=image_id, file_name=name, height=height, width=width))
        for mask, score in zip(instances.masks.cpu().numpy(), instances.scores.tolist()):
            records['annotations'].append(dict(coco_annotation(mask, label=0), image_id=image_id, score=score))
    return records


def _leave_interrupts_to_the_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
