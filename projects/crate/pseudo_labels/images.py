"""The list of images, and its batches."""

import hashlib
import json
import mmap
import os
import re
import stat
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

# What a line of a text file cannot hold; a double quote at the start says that the line is a JSON string.
_NEEDS_QUOTES = re.compile(r'^"|[\x00-\x1f\x7f\x85\u2028\u2029]')


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
        left_out: One line for each folder that could not be searched.
    """

    def __init__(self, names: Iterable[str], root: Path, scratch: Path) -> None:
        self.root = root
        self.left_out: list[str] = []
        digest = hashlib.sha256()
        with tempfile.TemporaryFile(dir=scratch) as text, tempfile.TemporaryFile(dir=scratch) as ends:
            for name in names:
                text.write(os.fsencode(name) + b'\n')
                ends.write(struct.pack('q', text.tell()))
                digest.update(os.fsencode(quote(name)) + b'\n')
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

    Links to folders are followed, but not into a folder that the link itself lies in.

    Args:
        source: A folder, searched with all its folders, or a text file with one path per line; what follows a tab is
            ignored, so that a list of unreadable images is such a file. See :func:`quote` for unusual paths.
        scratch: As for :class:`ImageList`.
        root: Folder at which the relative paths of a text file start; the current folder if None.

    Raises:
        UserError: ``source`` is neither, or an image itself, or holds no images, or cannot be read; or there is a
            ``root`` for a folder; or ``scratch`` cannot hold the names.
    """
    try:
        return _list_images(source, scratch, root)
    except OSError as error:
        raise UserError(
            f'cannot list the images of {source}: {error.strerror} ({error.filename or scratch})'
        ) from error


def quote(name: str) -> str:
    r"""Return a path as a line of a text file holds it, which :func:`unquote` reads.

    A path with control characters (a tab, an end of a line) or with a double quote at its start becomes a JSON string,
    such as ``"two\nlines.jpg"``. Any other path stays as it is.
    """
    return json.dumps(name) if _NEEDS_QUOTES.search(name) else name


def unquote(line: str) -> str:
    """Return the path in a line of a text file, without what follows a tab."""
    name = line.split('\t')[0]
    if name.startswith('"'):
        try:
            text = json.loads(name)
            os.fsencode(text)
            return text
        except ValueError:  # a path that starts with a quote, written by hand
            return name
    return name


def _list_images(source: Path, scratch: Path, root: Path | None) -> ImageList:
    if source.is_dir() and root is not None:
        raise UserError(f'--root is for a text file of paths, and {source} is a folder')
    if source.is_file() and source.name.lower().endswith(IMG_EXTENSIONS):
        raise UserError(f'{source} is an image: give its folder, or a text file with a path per line')
    left_out: list[str] = []
    if source.is_dir():
        images = ImageList(_walk(source, left_out), source, scratch)
    elif source.is_file():
        images = ImageList(_lines(source), root or Path(), scratch)
    else:
        raise UserError(f'images not found: {source} is neither a folder nor a text file of paths')
    if not images:
        raise UserError(f'no images in {source} (of a folder, files ending in {" ".join(IMG_EXTENSIONS)} are taken)')
    images.left_out = left_out
    return images


def _walk(folder: Path, left_out: list[str]) -> Iterator[str]:
    """Relative paths of the images below ``folder``; a slash behind a folder's name makes one sorted list of all."""
    left = [('', None)]  # (path, (identity of the folder it lies in, the same of that folder)); the next one is last
    while left:
        path, above = left.pop()
        if path and not path.endswith('/'):
            yield path
            continue
        try:
            here = (_identity(folder / path), above)
            if _is_among(here[0], above):
                left_out.append(f'{quote(path)} (a link to a folder that it lies in)')
                continue
            with os.scandir(folder / path) as entries:
                names = sorted(entry.name + '/' * _is_folder(entry) for entry in entries)
        except OSError as error:
            if not path:
                raise
            left_out.append(f'{quote(path)} ({error.strerror})')
            continue
        wanted = (name for name in reversed(names) if name.endswith('/') or name.lower().endswith(IMG_EXTENSIONS))
        left += [(path + name, here) for name in wanted]


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_among(identity: tuple[int, int], above: tuple | None) -> bool:
    while above is not None:
        if above[0] == identity:
            return True
        above = above[1]
    return False


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding='utf-8', errors='surrogateescape') as lines:
        for line in lines:
            if '\0' in line:
                raise UserError(f'{file} is not a text file of paths')
            if name := unquote(line.rstrip('\n')):
                yield name


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
