"""What all tools share: the way they start, how they report mistakes, and types of arguments."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def new_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser that keeps the lines of the description and has ``--debug``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--debug', action='store_true', help='show the traceback of every error')
    return parser


def natural(text: str) -> int:
    """Return ``text`` as an integer that is at least 0."""
    return _at_least(0, text)


def positive(text: str) -> int:
    """Return ``text`` as an integer that is at least 1."""
    return _at_least(1, text)


def wait_without_spinning() -> None:
    """Let idle threads of OpenMP sleep, unless the user chose how they wait; call it before torch is imported.

    Threads that spin take the processor from those that work, as soon as another process is busy.
    """
    if not {'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME'} & os.environ.keys():
        os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'


def run(
    name: str,
    work: Callable[[argparse.Namespace], int | None],
    args: argparse.Namespace,
    interrupted: str = 'interrupted',
) -> int:
    """Run ``work(args)`` and return the exit code of the tool.

    A mistake of the user is one line on stderr and exit code 1. Every other error is a bug and keeps its traceback;
    with ``--debug`` mistakes keep theirs, too.

    Args:
        name: Name of the tool, with which its messages start.
        work: Function that does the work. It returns an exit code, or None for 0.
        args: Parsed command line.
        interrupted: Message after Ctrl-C (exit code 130).
    """
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # no library may fall back to executing a checkpoint
    wait_without_spinning()
    sys.path.insert(0, str(ROOT))
    try:
        from projects.crate.errors import UserError, explain
    except ImportError as error:
        if args.debug or error.name != 'projects.crate':  # that name: the environment was examined
            raise
        print(f'{name}: {error}', file=sys.stderr)
        return 1
    try:
        return work(args) or 0
    except UserError as error:
        if args.debug:
            raise
        print(f'{name}: {explain(error)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if args.debug:
            raise
        print(f'{name}: {interrupted}', file=sys.stderr)
        return 130


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f'at least {least}; not {number}')
    return number
