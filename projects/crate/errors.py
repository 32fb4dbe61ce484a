"""The one type of error that a tool tells in one line; any other is a bug and keeps its traceback."""

import errno
import io
import os
import re
import traceback
from pathlib import Path

# Refusals of the machine: permission, disk, form of the path
REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}


class UserError(Exception):
    """A file, a setting or an argument is wrong, and the user can mend it.

    The message is one line. It names the file, key or value, and says what to do.
    """

    __str__ = Exception.__str__  # a KeyError would show the message in quotes


class ArgumentError(UserError, ValueError):
    """An argument, a setting or the content of a file has a value that cannot be used."""


class ArgumentTypeError(UserError, TypeError):
    """An argument or a setting is of a kind that cannot be used."""


class UnknownKeyError(UserError, KeyError):
    """There is no entry of this name."""


class UnknownLayerError(UserError, IndexError):
    """The model has no such layer, or does not run it."""


class MissingPackageError(UserError, ImportError):
    """A package is needed that is not installed."""


class UnsupportedError(UserError, RuntimeError):
    """Settings do not go together."""


class FileError(UserError, OSError):
    """A file cannot be read or written."""


class WriteError(FileError):
    """A file cannot be written: the disk or a permission is the reason, not a setting."""


class FileInTheWayError(UserError, FileExistsError):
    """Something else lies where a file or folder is to be written."""


def explain(error: Exception) -> str:
    """Return the message of an error as one line.

    A data loader that uses workers puts the whole traceback of a worker into the message. Its last line has the type
    and the message; a type of this project is left out.
    """
    text = error.args[0] if isinstance(error, KeyError) and error.args else error  # str() would add quotes
    lines = str(text).strip().splitlines() or [type(error).__name__]
    return re.sub(r'^projects\.crate\.\S+: ', '', lines[-1]) if lines[0].startswith('Caught ') else lines[0]


def refusal(error: OSError) -> str | None:
    """Return one line about a permission, a full disk or an impossible path; None for any other error."""
    in_the_way = error.errno == errno.EEXIST and error.filename and not Path(os.fsdecode(error.filename)).is_dir()
    if error.errno not in REFUSALS and not in_the_way:
        return None
    file = error.filename or open_file(error)
    return error.strerror if file is None else f'{error.strerror}: {os.fsdecode(file)}'


def open_file(error: OSError) -> str | None:
    """Return the name of the file that was open when the error came: an error of ``write`` has no name."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for value in frame.f_locals.values():
            if isinstance(value, io.IOBase) and isinstance(getattr(value, 'name', None), str):
                return value.name
    return None
