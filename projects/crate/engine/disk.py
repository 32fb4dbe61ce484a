"""Report files that cannot be written in one line: the file, the reason and the remedy."""

import errno
import fcntl
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import WriteError, open_file

GO_ON = 'run the same command with --resume to continue'
# Only a write meets these errors.
_WRITES = {
    errno.ENOSPC: 'free some space',
    errno.EDQUOT: 'free some space',
    errno.EFBIG: 'raise the limit on file sizes (ulimit -f)',
    errno.EROFS: 'choose another folder ({})',
}


def cannot_write(error: OSError, path: str | Path, then: str = '', option: str = '--work-dir') -> WriteError:
    """Return an error: why ``path`` could not be written, and what to do (``then``: afterwards).

    ``option`` is the option of the tool that names the folder.
    """
    remedy = _WRITES.get(error.errno, _WRITES[errno.EROFS]).format(option)
    return WriteError(f'cannot write {path}: {error.strerror or error}; {remedy}{then and f", then {then}"}')


def check_folder(folder: str | Path, option: str = '--work-dir') -> None:
    """Make the folder of ``option``; raise a ``UserError`` if it cannot be made or nothing can be written in it."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise cannot_write(error, folder, option=option) from error


@contextmanager
def write_errors(folder: str, then: str = '') -> Iterator[None]:
    """Raise a ``UserError`` if a file cannot be written in the block, also if it is a log file.

    An error about a file in ``folder`` concerns writing; others may concern data that are read. Python's log handlers
    print a traceback for every line that they cannot write, and continue; here they raise.
    """
    handle = logging.FileHandler.handleError
    logging.FileHandler.handleError = _name_and_raise
    try:
        yield
    except OSError as error:
        path = Path(error.filename if isinstance(error.filename, str) else open_file(error) or folder).absolute()
        if error.errno in _WRITES or Path(folder).absolute() in path.parents:
            raise cannot_write(error, path, then) from error
        raise
    finally:
        logging.FileHandler.handleError = handle


def lock(path: Path) -> IO | None:
    """Lock a file for this process, until the returned file is closed or the process ends, however it ends.

    Child processes do not inherit the lock: workers that outlive a killed process do not hold it. Where the file system
    has no locks, None is returned.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    file = path.open('a')
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise BlockingIOError(error.errno, error.strerror, str(path)) from error
        return None
    return file


def _name_and_raise(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    """Replace ``FileHandler.handleError``, which is called while an exception is handled."""
    error = sys.exc_info()[1]
    if isinstance(error, OSError):
        error.filename = handler.baseFilename
        raise error
    logging.Handler.handleError(handler, record)
