"""The configs of the tree and the grammar of their names."""

import ast
import copy
import functools
import importlib.util
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
CLASSIFICATION, DETECTION, MASKCUT, SEGMENTATION = (
    [path for path in LEAVES if path.parent.name == folder]
    for folder in ('classification', 'detection', 'maskcut', 'segmentation')
)

# {backbone}-p{patch}_[{pre}-pre-]{gpus}xb{batch}-[{tag}-...]coslr-{length}{e|i}_{data set}[-{px}px]
NAME = re.compile(
    r'(?P<backbone>(crate|vit)-[a-z0-9-]+)-p(?P<patch>\d+)'
    r'_((?P<pretraining>in21k)-pre-)?(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'-(?P<tags>((fsdp|deepspeed|mixup|linear)-)*)coslr-(?P<length>\d+)(?P<unit>[ei])'
    r'_(?P<data>[a-z0-9]+)(-(?P<px>\d+)px)?'
)
# maskcut_{backbone}-p{patch}_[{pre}-pre-]{gpus}xb{batch}_{data set}[-{height}x{width}px][-crf]
MASKCUT_NAME = re.compile(
    r'maskcut_(?P<backbone>(crate|vit)-[a-z0-9-]+)-p(?P<patch>\d+)'
    r'_((?P<pretraining>dino)-pre-)?(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'_(?P<data>[a-z0-9]+)(-(?P<height>\d+)x(?P<width>\d+)px)?(?P<crf>-crf)?'
)
# coarse-seg_{backbone}-p{patch}_[{pre}-pre-]{gpus}xb{batch}_{data set}[-{height}x{width}px]
SEGMENTATION_NAME = re.compile(
    r'coarse-seg_(?P<backbone>(crate|vit)-[a-z0-9-]+)-p(?P<patch>\d+)'
    r'_((?P<pretraining>dino)-pre-)?(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'_(?P<data>[a-z0-9]+)(-(?P<height>\d+)x(?P<width>\d+)px)?'
)
# {detector}_{backbone}_{gpus}xb{batch}-{schedule}-{epochs}e_{data set}[-pseudo]-{height}x{width}px
DETECTION_NAME = re.compile(
    r'(?P<detector>mask-rcnn)_(?P<backbone>r50)_(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'-(?P<schedule>step)-(?P<epochs>\d+)e_(?P<data>[a-z0-9]+)(?P<labels>-pseudo)?-(?P<height>\d+)x(?P<width>\d+)px'
)


def parse(pattern: re.Pattern, path: Path) -> dict[str, str | int | None]:
    """What the name of a config says, numbers as numbers; None where it says nothing."""
    match = pattern.fullmatch(path.stem)
    assert match, f'{path.name} does not follow the grammar'
    return {key: int(value) if value and value.isdigit() else value for key, value in match.groupdict().items()}


@dataclass(frozen=True)
class Name:
    """What the name of a classification config says."""

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
        fields = parse(NAME, path)
        return cls(**{**fields, 'px': fields['px'] or 224, 'tags': frozenset(fields['tags'].split('-')) - {''}})


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
        return MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})


def header(path: Path) -> str:
    """The comment at the top, as one line."""
    lines = path.read_text().splitlines()
    end = next(index for index, line in enumerate(lines) if not line.startswith('#'))
    return ' '.join(line.lstrip('# ').removesuffix(' \\') for line in lines[:end])


def bases(path: Path) -> list[Path]:
    """The files that ``path`` names as ``_base_``, also those of an installed library ('mmdet::...')."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_':
            value = ast.literal_eval(node.value)
            return [_locate(path, base) for base in ([value] if isinstance(value, str) else value)]
    return []


def _locate(path: Path, base: str) -> Path:
    library, is_installed, name = base.rpartition('::')
    if not is_installed:
        return path.parent / name
    return Path(importlib.util.find_spec(library).origin).parent / '.mim' / 'configs' / name
