"""Write files that are whole or absent, even if the process dies meanwhile."""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FileError


def make_folder(path: Path) -> None:
    """Make a folder for results, with the folders above it, unless it exists.

    Raises:
        UserError: There is no permission, a file in its place, or a full disk.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f'{path}: the folder cannot be made: {error.strerror}') from error


def can_block(path: str | os.PathLike) -> bool:
    """Return True for a pipe, a socket or a device: to read it may be to wait for ever."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # whoever opens it says why it cannot be read
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


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


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary name to write a file under; at the end of the block the file is synced and renamed to ``path``.

    Until then ``path`` is unchanged. An exception removes the temporary file. A kill leaves it, under a name that ends
    in ``.part`` and that no other process uses.

    Args:
        path: File to write. Its folder exists.
        folder: Folder of the temporary file, on the same file system; default: the folder of ``path``.
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
