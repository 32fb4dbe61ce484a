"""Load batches of images, and find images that changed."""

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
    """Consecutive images of a list, loaded.

    Attributes:
        number: Number of the batch, from 0.
        data: Argument of ``model.test_step``; None if no image can be read.
        ids: Positions in the list, from 1, of the images in ``data``.
        names: Names of the images in ``data``.
        unreadable: (name, reason) of the others.
        files: {id: :func:`fingerprint` before loading} of all images; None if there is no fingerprint.
    """

    number: int
    data: dict | None
    ids: list[int]
    names: list[str]
    unreadable: list[tuple[str, str]]
    files: dict[int, list | None]


class ImageBatches(Dataset):
    """Batches of a list of images. The images of batch i depend on the list and the batch size alone.

    So do the results: the last bits of a sum may depend on the other images of a batch.

    Args:
        images: List of images.
        pipeline: Transforms of a test pipeline, without those that load annotations. Images are loaded by
            :class:`projects.crate.datasets.LoadImageOrSkip` in place of mmcv's transform.
        batch_size: Images per batch; the last batch may have less.
    """

    def __init__(self, images: ImageList, pipeline: Sequence[dict], batch_size: int) -> None:
        self.images, self.batch_size = images, batch_size
        self.pipeline = Compose([_strict(transform) for transform in pipeline])

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def count(self, numbers: np.ndarray) -> int:
        """Return the number of images in some batches."""
        return int(np.minimum(self.batch_size, len(self.images) - numbers * self.batch_size).sum())

    def __getitem__(self, number: int) -> Batch:
        samples, ids, names, unreadable, files = [], [], [], [], {}
        for image_id in self._ids(number):
            name = self.images[image_id - 1]
            path = self.images.root / name
            files[image_id] = None
            try:
                # Now the file is in the page cache for the transforms. A change while they read it is found later.
                files[image_id] = fingerprint(path)
                samples.append(self.pipeline(dict(img_path=str(path), img_id=image_id)))
            except OSError as error:
                unreadable.append((name, ' '.join(str(error.__cause__ or error).split())))
            else:
                ids.append(image_id)
                names.append(name)
        return Batch(int(number), pseudo_collate(samples) if samples else None, ids, names, unreadable, files)

    def find_change(self, number: int, files: dict[str, list | None]) -> str | None:
        """Return one line about the first image of a batch that has changed since ``files``, or None.

        ``files`` are earlier ``Batch.files``, with keys as in JSON.
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
    """Return [size in bytes, time of the last change of the content and of the entry in ns, SHA-256] of a file.

    Raises:
        OSError: The file cannot be read, or is a pipe, a socket or a device, where reading may wait for ever.
    """
    if '\0' in str(path):
        raise OSError('there is a NUL character in the path')
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError('not a regular file')
    return [*_size_and_times(status), hashlib.sha256(path.read_bytes()).hexdigest()]


def is_same(path: Path, old: list | None) -> bool:
    """Return whether a file has the content that it had; read it only if its size or times are others.

    ``old`` is the earlier result of :func:`fingerprint`, or None if it raised.
    """
    try:
        if old is not None and _size_and_times(path.stat()) == old[:3]:
            return True
        new = fingerprint(path)
    except (OSError, ValueError):
        return old is None
    return old is not None and new[3] == old[3]


def has_content(path: Path, sha256: str | None, written: int) -> bool:
    """Return whether a file has this SHA-256; read it only if it is not older than ``written``, a time in ns."""
    try:
        return max(_size_and_times(path.stat())[1:]) < written or fingerprint(path)[-1] == sha256
    except (OSError, ValueError):
        return False


def _size_and_times(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _strict(transform: dict) -> dict:
    """Return the transform; if it loads images, one that raises OSError for damaged images."""
    if type_name(transform['type']) in ('LoadImageFromFile', 'LoadImageOrSkip'):
        return dict(transform, type='LoadImageOrSkip', skip=False)
    return transform
