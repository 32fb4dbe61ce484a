"""The one type of error that a tool tells in one line; any other is a bug and keeps its traceback."""


class UserError(Exception):
    """A file, a setting or an argument is wrong, and the user can mend it.

    The message is one line. It names the file, key or value, and says what to do.
    """


def explain(error: Exception) -> str:
    """Return the message of an error as one line.

    A data loader that uses workers puts the whole traceback of a worker into the message; its last line is the message.
    """
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'not found: {error.filename} (is data_root right? a relative path starts at the current folder)'
    lines = str(error).strip('\'"').strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].startswith('Caught ') else lines[0]
