"""Files that are whole or absent, whatever happens while they are written."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FileError


def make_folder(path: Path) -> None:
    """Make a folder for results, with the folders above it, unless it is there.

    Raises:
        UserError: It cannot be made: no permission, a file in its place, a full disk.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f'{path}: the folder cannot be made: {error.strerror}') from error


def printable(path: str | os.PathLike) -> str:
    r"""Return a path or a name from a file as one line that any log takes.

    Bytes of a name that are not UTF-8 become ``\xNN``; line breaks and other control characters are escaped, too.
    """
    text = os.fsdecode(path)
    try:
        text = os.fsencode(text).decode('utf-8', 'backslashreplace')
    except UnicodeEncodeError:  # half of a surrogate pair, in a name that is none of a file
        text = text.encode('utf-8', 'backslashreplace').decode()
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


@contextmanager
def atomic(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A name to write a file under; at the end of the block the file is on the disk and gets the name ``path``.

    Until then ``path`` is what it was. An exception removes what was written; a kill leaves it, under a name that ends
    in ``.part`` and that no other process uses.

    Args:
        path: The file. Its folder exists.
        folder: Where the file lies until it is whole, on the same file system; default beside ``path``.
    """
    part = (folder or path.parent) / f'.{path.name}.{secrets.token_hex(4)}.part'
    try:
        yield part
        with part.open('rb+') as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the name, too, is on the disk
    finally:
        os.close(directory)
