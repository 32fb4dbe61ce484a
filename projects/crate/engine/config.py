"""Read a config of mmpretrain, mmdet or mmseg, with the options of a command line."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.device import get_device

from ..errors import UserError, explain
from .distributed import init_cpu_processes
from .mistakes import reading
from .stock_parts import type_name, use_cpu_wrappers

BLANK = '\0'  # stands for a blank while mmengine parses an option; no argument of a command holds it

# {'key': or dict(, which mmengine keeps as text, or divides at commas, or follows without end
DICT = re.compile(r"""\{\s*(["'])[^"']*\1\s*:|(^|[\[(,])\s*dict\(""")


def read_config(path: str, options: Sequence[str] = (), work_dir: str | None = None, launcher: str = 'none') -> Config:
    """Read a config and merge the options of the command line into it.

    Args:
        path: Config file, of any of the libraries.
        options: ``key=value`` pairs, as ``--cfg-options`` takes them.
        work_dir: Folder for logs and checkpoints; default is the config's own, or ``work_dirs/{name of the file}``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'. On a machine without a GPU the process group is joined here.

    Raises:
        UserError: No such file, a mistake in it, or an option that is not a pair or does not fit the config.
    """
    if not Path(path).is_file():
        raise UserError(f'config not found: {path}')
    with reading(path):
        cfg = Config.fromfile(path)
    _merge(cfg, options)
    cfg.launcher = launcher
    if 'strategy' in cfg and type_name(cfg.strategy.type) == 'FSDPStrategy':
        cfg.strategy.type = 'ResumableFSDPStrategy'
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(path).stem))
    if launcher != 'none' and get_device() == 'cpu':
        init_cpu_processes(launcher)
        use_cpu_wrappers(cfg)
    return cfg


def model_cfg(cfg: Config) -> dict:
    """Return the model as a runner builds it: with the config's ``data_preprocessor``, unless it has its own."""
    model = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def _merge(cfg: Config, options: Sequence[str]) -> None:
    if bad := [option for option in options if '=' not in option]:
        raise UserError(f'--cfg-options takes KEY=VALUE pairs, not {" ".join(bad)}')
    for option in options:
        key, text = option.split('=', maxsplit=1)
        if DICT.search(text):
            message = 'an option cannot hold a dict: write it into a config file, or set its keys one by one'
            raise UserError(f'--cfg-options {option}: {message} ({key}.NAME=VALUE)')
        try:
            cfg.merge_from_dict({key: _value(text)})
        except (AssertionError, LookupError, TypeError) as error:  # mmengine: brackets; keys that do not fit the config
            raise UserError(f'--cfg-options {option}: {explain(error)}') from error


def _value(text: str) -> Any:
    """Parse the text as mmengine does, but keep paths and blanks: mmengine removes blanks, and splits at commas."""
    if '/' in text and os.path.exists(text):  # noqa: PTH110  # pathlib raises where a name is too long
        return text
    if not re.search(r'[,(\[]', text):
        return DictAction._parse_int_float_bool(text.strip('\'"'))
    text = re.sub(r'(?<=[\[(,])\s+|\s+(?=[\]),])', '', text.strip())
    return _with_blanks(DictAction._parse_iterable(text.replace(' ', BLANK)))


def _with_blanks(value: Any) -> Any:
    """Return a parsed value with its blanks."""
    if isinstance(value, list | tuple):
        return type(value)(map(_with_blanks, value))
    return value.replace(BLANK, ' ') if isinstance(value, str) else value
