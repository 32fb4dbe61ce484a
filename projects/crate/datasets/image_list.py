"""Lists of images: those of a folder or a text file, and some of a list, evenly spaced."""

import hashlib
import json
import mmap
import os
import re
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from torchvision.datasets.folder import IMG_EXTENSIONS

from ..errors import UserError

# Characters that a line of a text file cannot have; a line that starts with a double quote is a JSON string.
_NEEDS_QUOTES = re.compile(r'^"|[\x00-\x1f\x7f\x85\u2028\u2029]')


class ImageList(Sequence[str]):
    """Names of images, on disk, so that the memory of a process does not grow with their number.

    Two temporary files hold the names; they vanish with the process. Processes forked from it share them.

    Args:
        names: The names, in their order.
        root: Folder that the names are relative to.
        scratch: Folder on whose disk the names are kept.

    Attributes:
        root: Folder that the names are relative to.
        sha256: SHA-256 of the names.
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
    """List the images below a folder, sorted by path, or the images that a text file names, in its order.

    Links to folders are followed, but not into a folder that contains the link.

    Args:
        source: Folder, searched with all its folders, or text file with one path per line. Text after a tab is ignored,
            so that a list of unreadable images is such a file. See :func:`quote` for unusual paths.
        scratch: Folder on whose disk the names are kept.
        root: Folder at which relative paths of a text file start; default: the current folder.

    Raises:
        UserError: ``source`` is neither, is an image, holds no images, or cannot be read. There is a ``root`` for a
            folder. ``scratch`` cannot hold the names.
    """
    left_out: list[str] = []
    try:
        if source.is_dir():
            if root is not None:
                raise UserError(f'--root is for a text file of paths, and {source} is a folder')
            images = ImageList(_walk(source, left_out), source, scratch)
        elif not source.is_file():
            raise UserError(f'images not found: {source} is neither a folder nor a text file of paths')
        elif source.name.lower().endswith(IMG_EXTENSIONS):
            raise UserError(f'{source} is an image: give its folder, or a text file with a path per line')
        else:
            images = ImageList(_lines(source), root or Path(), scratch)
    except OSError as error:
        reason = f'{error.strerror} ({error.filename or scratch})'
        raise UserError(f'cannot list the images of {source}: {reason}') from error
    if not images:
        raise UserError(f'no images in {source} (of a folder, files ending in {" ".join(IMG_EXTENSIONS)} are taken)')
    images.left_out = left_out
    return images


def quote(name: str) -> str:
    r"""Return a path as a line of a text file holds it, which :func:`unquote` reads.

    A path becomes a JSON string, such as ``"two\nlines.jpg"``, in two cases. It has control characters (a tab, an end
    of a line), or a double quote at its start. Any other path stays as it is.
    """
    return json.dumps(name) if _NEEDS_QUOTES.search(name) else name


def unquote(line: str) -> str:
    """Return the path in a line of a text file, without what follows a tab."""
    name = line.split('\t')[0]
    if name.startswith('"'):
        with suppress(ValueError):  # a path that starts with a quote, written by hand
            text = json.loads(name)
            os.fsencode(text)
            return text
    return name


def _walk(folder: Path, left_out: list[str]) -> Iterator[str]:
    """Yield the relative paths of the images below ``folder``, sorted; a folder's name sorts with a slash behind it."""
    left = [('', ())]  # (path, identities of the folders that it lies in); the next one is last
    while left:
        path, above = left.pop()
        if path and not path.endswith('/'):
            yield path
            continue
        try:
            status = (folder / path).stat()
            here = (status.st_dev, status.st_ino), *above
            if here[0] in above:
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
    """Return ``count`` evenly spaced positions below ``total``, or all: the start of a sorted data set is no sample."""
    return list(range(total)) if count is None or count >= total else [i * total // count for i in range(count)]
