"""Decide which errors of building and running a config are mistakes of the config: they become UserError.

A bug keeps its traceback. No type of error is caught as such: the place counts where the error was raised. A mistake is
raised by the call of a registry, or by a library that the registry has called with the settings of the config.
"""

import ast
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry.build_functions import build_from_cfg
from yaml import YAMLError

from ..errors import UserError, WriteError, explain
from ..files import printable

LIBRARIES = {'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'torch', 'torchvision', 'timm', 'transformers', 'yaml'}
# Errors about refused arguments, or of a config that is executed.
REFUSALS = (AssertionError, AttributeError, ImportError, LookupError, NameError, RuntimeError)
REFUSALS += (SyntaxError, TypeError, ValueError, OSError, YAMLError)
KEYWORD = re.compile(r"got an unexpected keyword argument '(\w+)'")
NO_FILE = re.compile(r"FileNotFoundError: \[Errno 2\] No such file or directory: (['\"].*['\"])$")
# Parts of a config that name files to be read.
INPUTS = re.compile(r'(.*_)?(dataloader|evaluator|hooks|model|load_from)')


@contextmanager
def mistakes_of(cfg: Config) -> Iterator[None]:
    """Raise mistakes of a config as UserError while its parts are built and run; messages start with its file name.

    Three kinds of errors are mistakes. No registry has a type. A type or a library refuses an argument. A file is
    missing whose path is in the config or below a path in the config.
    """
    inputs = [value for key, value in cfg.items() if INPUTS.fullmatch(key)]
    with reading(cfg.filename):
        try:
            yield
        except FileNotFoundError as error:
            if (path := missing_file(error)) is None or not is_named(path, inputs):
                raise
            hint = 'is data_root right? a relative path starts at the current folder'
            raise UserError(f'{cfg.filename}: not found: {path} ({hint})') from error


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Do as :func:`mistakes_of`, except for missing files; messages start with ``source``.

    Reading a config executes it, so this serves there, too.
    """
    try:
        yield
    except UserError:
        raise
    except REFUSALS as error:
        if _is_refused(error):
            raise UserError(f'{source}: {_initial_weights(error)}{explain(error)}') from error
        if (file := _resumed_from(error)) is None:
            raise
        raise UserError(
            f'{printable(file)}: a training with this config cannot continue from it: {explain(error)}'
        ) from error


@contextmanager
def building(cfg: Config) -> Iterator[None]:
    """Do as :func:`mistakes_of`, and put the file name before messages of this project, too."""
    try:
        with mistakes_of(cfg):
            yield
    except WriteError:
        raise
    except UserError as error:
        text = explain(error)
        if text.startswith(f'{cfg.filename}: '):
            raise
        raise type(error)(f'{cfg.filename}: {text}') from error


def missing_file(error: FileNotFoundError) -> str | None:
    """Return the path of the file, or None. A worker of a data loader passes on the message alone."""
    if error.filename is not None:
        return os.fsdecode(error.filename)
    found = NO_FILE.search(str(error).strip())
    return ast.literal_eval(found[1]) if found else None


def is_named(path: str, cfg: object) -> bool:
    """Return True if the path is in a (part of a) config, or below a path in it."""
    named = {Path(text) for text in _texts(cfg) if text}
    return not named.isdisjoint([Path(path), *Path(path).parents][:-1])


def _is_refused(error: Exception) -> bool:
    """Return True if the call of a registry raised the error, or a library that it has called, or a config."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    calls = [position for position, frame in enumerate(frames) if _builds(frame)]
    if not calls:
        return False
    if keyword := KEYWORD.search(str(error)) if isinstance(error, TypeError) else None:
        # a class may pass its keywords on
        given = (frames[position].f_locals.get('cfg') for position in calls)
        if any(keyword[1] in cfg for cfg in given if isinstance(cfg, dict)):
            return True
    return all(_package(frame) in LIBRARIES | sys.stdlib_module_names | {''} for frame in frames[calls[-1] :])


def _resumed_from(error: Exception) -> str | None:
    """Return the checkpoint whose state of a training a library has refused; None for any other error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    file = next((frame.f_locals['self']._load_from for frame in frames if _is_resumed_training(frame)), None)
    for position, frame in enumerate(frames):
        name = frame.f_code.co_name
        if _package(frame) == 'mmengine' and (name == 'resume' or (file and name == 'step')):
            is_refused = all(_package(inner) in LIBRARIES | sys.stdlib_module_names for inner in frames[position:])
            return str(file or frame.f_locals['filename']) if is_refused else None
    return None


def _is_resumed_training(frame: FrameType) -> bool:
    is_train = frame.f_code.co_name == 'train' and frame.f_globals.get('__name__', '').startswith('mmengine.runner')
    return is_train and frame.f_locals['self']._resume


def _initial_weights(error: Exception) -> str:
    """Return the file of the ``init_cfg`` that was being loaded, for messages that do not name it; '' if none was."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        given = getattr(frame.f_locals.get('self'), 'init_cfg', None)
        if frame.f_code.co_name == 'init_weights' and isinstance(given, dict) and given.get('checkpoint'):
            return f'{printable(given["checkpoint"])}: '
    return ''


def _builds(frame: FrameType) -> bool:
    """Return True for a call that builds a part of a config or loads its ``init_cfg``, also without a registry."""
    if frame.f_code in (build_from_cfg.__code__, Config.fromfile.__code__, PretrainedInit.__call__.__code__):
        return True
    names, modules = ('build_', '__init__', '_init_model_weights'), ('mmengine.runner', 'mmengine._strategy')
    return frame.f_globals.get('__name__', '').startswith(modules) and frame.f_code.co_name.startswith(names)


def _package(frame: FrameType) -> str:
    """Return the top-level package of the code; '' for the code of a config."""
    return frame.f_globals.get('__name__', '').partition('.')[0]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
