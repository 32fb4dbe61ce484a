"""The configs of the tree and the grammar of their names."""

import ast
import copy
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import projects.crate  # noqa: F401  (registers)

ROOT = Path(__file__).resolve().parent.parent
LEAVES = sorted(path for path in ROOT.glob('configs/*/*.py') if path.parent.name != '_base_')
CLASSIFICATION = [path for path in LEAVES if path.parent.name == 'classification']

# {backbone}-p{patch}_[{pre}-pre-]{gpus}xb{batch}-[{tag}-...]coslr-{length}{e|i}_{data set}[-{px}px]
NAME = re.compile(
    r'(?P<backbone>(crate|vit)-[a-z0-9-]+)-p(?P<patch>\d+)'
    r'_((?P<pretraining>in21k)-pre-)?(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'-(?P<tags>((fsdp|deepspeed|mixup|linear)-)*)coslr-(?P<length>\d+)(?P<unit>[ei])'
    r'_(?P<data>[a-z0-9]+)(-(?P<px>\d+)px)?'
)


@dataclass(frozen=True)
class Name:
    """What the name of a config says."""

    backbone: str
    patch: int
    pretraining: str | None
    gpus: int
    batch: int
    tags: frozenset[str]
    length: int
    unit: str
    data: str
    px: int

    @classmethod
    def of(cls, path: Path) -> 'Name':
        match = NAME.fullmatch(path.stem)
        assert match, f'{path.name} does not follow the grammar'
        fields = match.groupdict()
        numbers = {key: int(fields[key] or 224) for key in ('patch', 'gpus', 'batch', 'length', 'px')}
        return cls(**{**fields, **numbers, 'tags': frozenset(fields['tags'].split('-')) - {''}})


def load(path: Path) -> Config:
    """The config, as it is where $CRATE_DATA is not set; the caller's own copy."""
    return copy.deepcopy(_read(path))


@functools.cache
def _read(path: Path) -> Config:
    environment = {key: value for key, value in os.environ.items() if key != 'CRATE_DATA'}
    with mock.patch.dict(os.environ, environment, clear=True):
        return Config.fromfile(path)


def build_without_memory(cfg: Config) -> torch.nn.Module:
    """The model on the meta device: shapes, no numbers; a quarter of a billion parameters cost nothing."""
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(dict(cfg.model, data_preprocessor=cfg.get('data_preprocessor')))


def bases(path: Path) -> list[Path]:
    """The files that ``path`` names as ``_base_``."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            value = ast.literal_eval(node.value)
            return [path.parent / base for base in ([value] if isinstance(value, str) else value)]
    return []
