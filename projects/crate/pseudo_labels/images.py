"""The list of images, and its batches."""

import hashlib
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mmengine.dataset import Compose, pseudo_collate
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..engine.launch import type_name
from ..errors import UserError


class ImageList(Sequence[str]):
    """Names of images, on disk: the memory a process needs does not grow with their number.

    The two files that hold them have no name and vanish with the process. Processes forked from it share them.

    Args:
        names: The names, in their order.
        root: Folder that the names are relative to.
        scratch: Folder on whose disk the names are kept.

    Attributes:
        root: As given.
        sha256: Of the names, in hexadecimal.
    """

    def __init__(self, names: Iterable[str], root: Path, scratch: Path) -> None:
        self.root = root
        digest = hashlib.sha256()
        with tempfile.TemporaryFile(dir=scratch) as text, tempfile.TemporaryFile(dir=scratch) as ends:
            for name in names:
                line = os.fsencode(name) + b'\n'
                text.write(line)
                ends.write(struct.pack('q', text.tell()))
                digest.update(line)
            self._text, ends = (_map(file) for file in (text, ends))
        self._ends = memoryview(ends).cast('q')
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> str:
        start = self._ends[position - 1] if position else 0
        return os.fsdecode(self._text[start : self._ends[position] - 1])


def list_images(source: Path, scratch: Path, root: Path | None = None) -> ImageList:
    """The images below a folder, sorted by their paths, or those that a text file names, in its order.

    Args:
        source: A folder, searched with all its folders, or a text file with one path per line; what follows a tab is
            ignored, so that a list of unreadable images is such a file.
        scratch: As for :class:`ImageList`.
        root: Folder at which the relative paths of a text file start; the current folder if None.

    Raises:
        UserError: ``source`` is neither, or an image itself, or holds no images; or there is a ``root`` for a folder.
    """
    if source.is_dir() and root is not None:
        raise UserError(f'--root is for a text file of paths, and {source} is a folder')
    if source.is_file() and source.name.lower().endswith(IMG_EXTENSIONS):
        raise UserError(f'{source} is an image: give its folder, or a text file with a path per line')
    if source.is_dir():
        images = ImageList(_walk(source), source, scratch)
    elif source.is_file():
        images = ImageList(_lines(source), root or Path(), scratch)
    else:
        raise UserError(f'images not found: {source} is neither a folder nor a text file of paths')
    if not images:
        raise UserError(f'no images in {source} (of a folder, files ending in {" ".join(IMG_EXTENSIONS)} are taken)')
    return images


def _walk(folder: Path, prefix: str = '') -> Iterator[str]:
    """Relative paths of the images below ``folder``; a slash behind a folder's name makes one sorted list of all."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name + '/' * entry.is_dir() for entry in entries)
    for name in names:
        if name.endswith('/'):
            yield from _walk(folder / name, prefix + name)
        elif name.lower().endswith(IMG_EXTENSIONS):
            yield prefix + name


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding='utf-8', errors='surrogateescape') as lines:
        yield from filter(None, (line.rstrip('\n').split('\t')[0] for line in lines))


def _map(file: BinaryIO) -> mmap.mmap | bytes:
    file.flush()
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.tell() else b''


@dataclass(frozen=True)
class Batch:
    """Consecutive images of the list.

    Attributes:
        number: Of the batch, from 0.
        data: What ``model.test_step`` takes, or None if none of the images can be read.
        ids: Of the images in ``data``: their positions in the list, from 1.
        names: Of the images in ``data``.
        unreadable: (name, reason) of the others.
    """

    number: int
    data: dict | None
    ids: list[int]
    names: list[str]
    unreadable: list[tuple[str, str]]


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
        samples, ids, names, unreadable = [], [], [], []
        start = int(number) * self.batch_size
        for position in range(start, min(start + self.batch_size, len(self.images))):
            name = self.images[position]
            try:
                samples.append(self.pipeline(dict(img_path=str(self.images.root / name), img_id=position + 1)))
            except OSError as error:
                unreadable.append((name, str(error.__cause__ or error)))
            else:
                ids.append(position + 1)
                names.append(name)
        return Batch(int(number), pseudo_collate(samples) if samples else None, ids, names, unreadable)


def _strict(transform: dict) -> dict:
    """``transform``; one that loads images tells of damaged ones by an OSError."""
    if type_name(transform['type']) in ('LoadImageFromFile', 'LoadImageOrSkip'):
        return dict(transform, type='LoadImageOrSkip', skip=False)
    return transform
