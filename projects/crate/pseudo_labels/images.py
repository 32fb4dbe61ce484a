"""Batches of images, and how a change of an image is found."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.dataset import Compose, pseudo_collate
from torch.utils.data import Dataset

from ..datasets.image_list import ImageList, quote
from ..engine.launch import type_name


@dataclass(frozen=True)
class Batch:
    """Consecutive images of the list.

    Attributes:
        number: Of the batch, from 0.
        data: What ``model.test_step`` takes, or None if none of the images can be read.
        ids: Of the images in ``data``: their positions in the list, from 1.
        names: Of the images in ``data``.
        unreadable: (name, reason) of the others.
        files: id -> :func:`fingerprint` before it was loaded, of all images; None if it could not be taken.
    """

    number: int
    data: dict | None
    ids: list[int]
    names: list[str]
    unreadable: list[tuple[str, str]]
    files: dict[int, list | None]


class ImageBatches(Dataset):
    """Batch i of a list of images, loaded. Which images it holds depends on the list and the batch size alone.

    So do, by that, the results: the last bits of a sum may depend on what else is in a batch.

    Args:
        images: The list.
        pipeline: Transforms of a test pipeline, without those that load annotations. The images are loaded by
            :class:`projects.crate.datasets.LoadImageOrSkip` wherever a pipeline has mmcv's transform.
        batch_size: Images per batch; the last one may have less.
    """

    def __init__(self, images: ImageList, pipeline: Sequence[dict], batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size
        self.pipeline = Compose([_strict(transform) for transform in pipeline])

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def count(self, numbers: np.ndarray) -> int:
        """How many images these batches hold."""
        return int(np.minimum(self.batch_size, len(self.images) - numbers * self.batch_size).sum())

    def __getitem__(self, number: int) -> Batch:
        samples, ids, names, unreadable, files = [], [], [], [], {}
        for image_id in self._ids(number):
            name = self.images[image_id - 1]
            path = self.images.root / name
            files[image_id] = None
            try:
                # The file is in the page cache for the transforms then. A change while they read it is found later.
                files[image_id] = fingerprint(path)
                samples.append(self.pipeline(dict(img_path=str(path), img_id=image_id)))
            except OSError as error:
                unreadable.append((name, ' '.join(str(error.__cause__ or error).split())))
            else:
                ids.append(image_id)
                names.append(name)
        return Batch(int(number), pseudo_collate(samples) if samples else None, ids, names, unreadable, files)

    def find_change(self, number: int, files: dict[str, list | None]) -> str | None:
        """One line about the first image of a batch that is not what it was, or None.

        Args:
            number: Of the batch.
            files: What ``Batch.files`` was, with keys as JSON has them.
        """
        ids = self._ids(number)
        if [str(image_id) for image_id in ids] != list(files):
            return f'the record of batch {number} holds other images'
        for image_id in ids:
            name = self.images[image_id - 1]
            if not is_same(self.images.root / name, files[str(image_id)]):
                return f'{quote(name)} has changed'
        return None

    def _ids(self, number: int) -> range:
        start = int(number) * self.batch_size
        return range(start + 1, min(start + self.batch_size, len(self.images)) + 1)


def fingerprint(path: Path) -> list:
    """Return [bytes, time of change of the content and of the entry in ns, SHA-256 of the content] of a file.

    Raises:
        OSError: It cannot be read, or is a pipe, a socket or a device, which could make the reader wait for ever.
    """
    if '\0' in str(path):
        raise OSError('there is a NUL character in the path')
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError('not a regular file')
    return [*_times(status), hashlib.sha256(path.read_bytes()).hexdigest()]


def is_same(path: Path, old: list | None) -> bool:
    """Whether a file has the content that it had; it is read only if its size or times are others.

    Args:
        path: The file.
        old: What :func:`fingerprint` returned, or None if it raised.
    """
    try:
        if old is not None and _times(path.stat()) == old[:3]:
            return True
        new = fingerprint(path)
    except (OSError, ValueError):
        return old is None
    return old is not None and new[3] == old[3]


def has_content(path: Path, sha256: str | None, written: int) -> bool:
    """Whether a file has the content with this hash, as it had at a time in ns; it is read only if it is not older."""
    try:
        return max(_times(path.stat())[1:]) < written or fingerprint(path)[-1] == sha256
    except (OSError, ValueError):
        return False


def _times(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _strict(transform: dict) -> dict:
    """``transform``; one that loads images tells of damaged ones by an OSError."""
    if type_name(transform['type']) in ('LoadImageFromFile', 'LoadImageOrSkip'):
        return dict(transform, type='LoadImageOrSkip', skip=False)
    return transform
