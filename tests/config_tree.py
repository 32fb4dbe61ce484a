"""The files of the config tree, read and built."""

import ast
import copy
import functools
import os
from pathlib import Path
from unittest import mock

import mmengine
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import projects.crate  # noqa: F401  (registers)

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / 'configs/_base_'
LEAVES = sorted(path for path in ROOT.glob('configs/*/*.py') if path.parent != BASE)
CLASSIFICATION = [path for path in LEAVES if path.parent.name == 'classification']


def load(path: Path, data: Path | None = None) -> Config:
    """The config, as it is where $CRATE_DATA is ``data``, or not set; the caller's own copy."""
    return copy.deepcopy(_read(path, data))


@functools.cache
def _read(path: Path, data: Path | None) -> Config:
    environment = {key: value for key, value in os.environ.items() if key != 'CRATE_DATA'}
    environment |= {'CRATE_DATA': str(data)} if data else {}
    # mmengine parses all hundred metafiles of a library again for each of its files that a config is built on
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch('mmengine.config.utils.load', _load_once):
        return Config.fromfile(path)


_load_once = functools.cache(mmengine.fileio.load)


def build_without_memory(cfg: Config) -> torch.nn.Module:
    """The model on the meta device: shapes, no numbers; a quarter of a billion parameters cost nothing."""
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})


def header(path: Path) -> str:
    """The comment at the top, as one line."""
    lines = path.read_text().splitlines()
    end = next(index for index, line in enumerate(lines) if not line.startswith('#'))
    return ' '.join(line.lstrip('# ').removesuffix(' \\') for line in lines[:end])


def bases(path: Path) -> list[Path]:
    """The files of this tree that ``path`` names as ``_base_``, in their order."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            value = ast.literal_eval(node.value)
            named = [value] if isinstance(value, str) else value
            return [(path.parent / name).resolve() for name in named if '::' not in name]
    return []
