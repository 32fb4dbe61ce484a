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

import mmengine
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
COARSE_SEGMENTATION = [path for path in SEGMENTATION if path.stem.startswith('coarse-seg_')]  # measure, do not train

# name in a file name -> (width, heads, layers)
BACKBONES = {
    'crate-tiny': (384, 6, 12),
    'crate-small': (576, 12, 12),
    'crate-base': (768, 12, 12),
    'crate-large': (1024, 16, 24),
    'crate-emergence-tiny': (192, 3, 12),
    'crate-emergence-small': (384, 6, 12),
    'crate-emergence-base': (768, 12, 12),
    'crate-alpha-base': (768, 12, 12),
    'crate-alpha-large': (1024, 16, 24),
    'crate-w128d5': (128, 4, 5),
    'crate-w128d6': (128, 4, 6),
    'crate-w192d5': (192, 3, 5),
    'crate-w384d6': (384, 6, 6),
    'vit-small': (384, 6, 12),
    'vit-base': (768, 12, 12),
    'vit-w128d5': (128, 4, 5),
    'vit-w128d6': (128, 4, 6),
    'vit-w192d5': (192, 3, 5),
    'vit-w384d6': (384, 6, 6),
}

# backbone of a detector or segmentor -> where the header says that its weights come from
ORIGINS = {
    'crate-base': 'configs/classification/crate-base-p16_8xb64-coslr-200e_in1k.py',
    'crate-emergence-small': 'configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py',
    'crate-alpha-base': 'configs/classification/crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py',
    'vit-base': 'vit-base-p16_32xb128-mae_in1k',
    'vit-small': 'configs/classification/vit-small-p8_16xb256-coslr-90e_in21k.py',
}

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
COARSE_SEGMENTATION_NAME = re.compile(
    r'coarse-seg_(?P<backbone>(crate|vit)-[a-z0-9-]+)-p(?P<patch>\d+)'
    r'_((?P<pretraining>dino)-pre-)?(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'_(?P<data>[a-z0-9]+)(-(?P<height>\d+)x(?P<width>\d+)px)?'
)
# {upernet|linear}_{backbone}-p{patch}_{pre}-pre-{gpus}xb{batch}-poly-{length}{k|i}_{data set}-{height}x{width}px
SEGMENTATION_NAME = re.compile(
    r'(?P<kind>upernet|linear)_(?P<backbone>(crate|vit)-[a-z0-9-]+)-p(?P<patch>\d+)'
    r'_(?P<pretraining>[a-z0-9]+)-pre-(?P<gpus>\d+)xb(?P<batch>\d+)-poly-(?P<length>\d+)(?P<unit>[ki])'
    r'_(?P<data>[a-z0-9]+)-(?P<height>\d+)x(?P<width>\d+)px'
)
# {detector}_{backbone}[-p{patch}]_[{pre}-pre-]{gpus}xb{batch}-[lsj-]{schedule}-{epochs}e_{data set}[-pseudo]
#     [-{height}x{width}px]
DETECTION_NAME = re.compile(
    r'(?P<detector>mask-rcnn|cascade-mask-rcnn|retinanet|dino)_(?P<backbone>r50|(crate|vit)-[a-z0-9-]+?)(-p(?P<patch>\d+))?'
    r'_((?P<pretraining>[a-z0-9]+)-pre-)?(?P<gpus>\d+)xb(?P<batch>\d+)-(?P<lsj>lsj-)?(?P<schedule>step)-(?P<epochs>\d+)e'
    r'_(?P<data>[a-z0-9]+)(?P<labels>-pseudo)?(-(?P<height>\d+)x(?P<width>\d+)px)?'
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
