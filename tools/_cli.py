"""Parts that all tools share: start, report of mistakes, shared options, and types of arguments."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def new_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser that keeps the lines of the description and has ``--debug``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_debug(parser, default=False)
    return parser


def new_parent() -> argparse.ArgumentParser:
    """Return a parser with ``--debug`` alone, as one of the ``parents`` of a subcommand."""
    parser = argparse.ArgumentParser(add_help=False)
    _add_debug(parser, default=argparse.SUPPRESS)  # or it would reset a --debug before the subcommand
    return parser


def add_cfg_options(parser: argparse.ArgumentParser, text: str = 'change settings of the config') -> None:
    """Add ``--cfg-options``, which changes settings of the config."""
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help=text)


def add_size(parser: argparse.ArgumentParser, text: str, default: list[int] | None = None) -> None:
    """Add ``--size``, the height and width of images."""
    parser.add_argument('--size', type=positive, nargs=2, default=default, metavar=('H', 'W'), help=text)


def add_facet(parser: argparse.ArgumentParser) -> None:
    """Add ``--facet`` and ``--centred``, which choose the features of a backbone."""
    text = 'features of the backbone (default: by the kind of ViT, see docs/maskcut.md)'
    parser.add_argument('--facet', choices=('key', 'query', 'value', 'token'), help=text)
    text = 'subtract the mean over the patches of an image from its features'
    parser.add_argument('--centred', action='store_true', help=text)


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``, and the ``--local_rank`` that launchers of old versions of torch give."""
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', default='0', help=argparse.SUPPRESS)


def natural(text: str) -> int:
    """Return ``text`` as an integer that is at least 0."""
    return _at_least(0, text)


def positive(text: str) -> int:
    """Return ``text`` as an integer that is at least 1."""
    return _at_least(1, text)


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not from 0 to 1')
    return number


def length(text: str) -> float:
    """Return a finite number above 0."""
    number = float(text)
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'must be above 0, not {text}')
    return number


def mistake(message: str) -> Exception:
    """Return a UserError. Import the package only here, since --help needs no library."""
    from projects.crate.errors import UserError

    return UserError(message)


def wait_without_spinning() -> None:
    """Let idle threads of OpenMP sleep soon, unless the user chose how they wait. Call it before torch is imported.

    Beside a busy process, threads that spin take the processor from threads that work. Threads that sleep at once
    (OMP_WAIT_POLICY=PASSIVE) wake up late on an idle machine. A thousand spins cost neither (docs/performance.md).
    """
    if not {'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME'} & os.environ.keys():
        os.environ['GOMP_SPINCOUNT'] = '1000'


def run(
    name: str,
    work: Callable[[argparse.Namespace], int | None],
    args: argparse.Namespace,
    interrupted: str = 'interrupted',
) -> int:
    """Run ``work(args)`` and return the exit code of the tool.

    Print a mistake of the user as one line on stderr and return 1. Do the same if the machine refuses: no permission,
    full disk. Every other error is a bug and keeps its traceback. With ``--debug``, every error keeps its traceback.
    Each message starts with ``name``; ``interrupted`` is the message after Ctrl-C (exit code 130).
    """
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # no library may fall back to executing a checkpoint
    if 'local_rank' in args:  # of an old launcher; new ones set the variable
        os.environ.setdefault('LOCAL_RANK', args.local_rank)
    wait_without_spinning()
    sys.path.insert(0, str(ROOT))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='surrogateescape')  # a path may hold bytes that are no text; stderr escapes them
    if args.debug:
        return work(args) or 0
    try:
        message, code = _outcome(work, args)
    except KeyboardInterrupt:
        message, code = interrupted, 130
    if message:
        print(f'{name}: {message}', file=sys.stderr)
    return code


def _outcome(work: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> tuple[str, int]:
    """Do the work; return the message to print ('' if there is none) and the exit code."""
    try:
        from projects.crate import study  # noqa: F401  # without OpenMMLab the package is there, and its parts are not
        from projects.crate.errors import UserError, explain, refusal
    except ImportError as error:
        if error.name != 'projects.crate':  # that name: the environment was examined
            raise
        return '; '.join(str(error).splitlines()).replace(':; ', ': '), 1
    try:
        return '', work(args) or 0
    except UserError as error:
        return explain(error), 1
    except OSError as error:
        message = refusal(error)
        if message is None:
            raise
        return message, 1


def _add_debug(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument('--debug', action='store_true', default=default, help='show the traceback of every error')


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f'must be at least {least}, not {number}')
    return number
