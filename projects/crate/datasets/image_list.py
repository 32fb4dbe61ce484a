"""Lists of images: those of a folder or a text file, and some of a list, evenly spaced."""

import hashlib
import json
import mmap
import os
import re
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from torchvision.datasets.folder import IMG_EXTENSIONS

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


def spread_evenly(total: int, count: int | None) -> list[int]:
    """``count`` positions from 0 to ``total`` - 1, or all: data sets are often sorted, and their start is no sample."""
    return list(range(total)) if count is None or count >= total else [i * total // count for i in range(count)]
