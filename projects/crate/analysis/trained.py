"""What a checkpoint says of its own training."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..checkpoints.grids import literal_values
from ..checkpoints.read import read_checkpoint
from ..engine.launch import read_config
from ..errors import UserError
from ..models.convert import sha256

KEYS = ('model', 'data_preprocessor', 'default_scope')  # of a config: what a backbone is built from
NOT_WANTED = ('init_cfg', 'out_indices', 'frozen_stages')  # of a backbone, where it is measured
RUN = re.compile(r'(?P<config>.+)_\d{8}_\d{6}')  # how mmengine names a run


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint and what is needed to build its backbone.

    Attributes:
        name: For the reader.
        checkpoint: The file.
        digest: Its SHA-256, in hexadecimal.
        config: ``model.backbone``, with all its layers and no other weights to load, ``model.data_preprocessor`` and
            ``default_scope``.
        config_name: Of the training config; empty where the checkpoint does not say.
        training: How long it was trained; empty where the checkpoint does not say.
    """

    name: str
    checkpoint: Path
    digest: str
    config: Config
    config_name: str
    training: str


def default_names(checkpoints: Sequence[Path]) -> list[str]:
    """Short and different: the folder up to a '_' (in a config's name, the backbone); if need be with the file."""
    folders = [path.resolve().parent.name.split('_')[0] for path in checkpoints]
    files = [f'{folder}/{path.stem}' for folder, path in zip(folders, checkpoints)]
    for names in (folders, files):
        if len({*names}) == len(names):
            return names
    return [str(path) for path in checkpoints]


def read_trained(checkpoint: Path, name: str, config: str | None = None) -> TrainedModel:
    """A checkpoint of a training, with its config.

    Args:
        checkpoint: The file.
        name: For the reader.
        config: Config file with the backbone; default: the text of the config that mmengine keeps in a checkpoint.

    Raises:
        UserError: The file cannot be read, or holds no config and none is given.
    """
    content = read_checkpoint(str(checkpoint))
    meta = (content.get('meta') if isinstance(content, Mapping) else None) or {}
    if config is not None:
        cfg = read_config(config)
    elif text := meta.get('cfg'):
        cfg = Config(literal_config(text, str(checkpoint)), cfg_text=text, filename=str(checkpoint))
    else:
        raise UserError(f'{checkpoint} holds no config (it was not written by a training): name one with --configs')
    run = RUN.fullmatch(meta.get('experiment_name', ''))
    return TrainedModel(
        name=name,
        checkpoint=checkpoint,
        digest=sha256(checkpoint),
        config=_backbone_of(cfg),
        config_name=Path(config).stem if config else run['config'] if run else '',
        training=_length(meta.get('epoch', 0), meta.get('iter', 0)),
    )


def literal_config(text: str, source: str) -> dict:
    """``KEYS`` of a config's text as mmengine writes it into checkpoints and work folders, without running it.

    ``Config.fromstring`` executes the text, and a checkpoint may come from anywhere. Here only literals and ``dict()``
    have a meaning.

    Args:
        text: Python source.
        source: For messages: where it comes from.

    Raises:
        UserError: One of ``KEYS`` is more than that, or the text is no Python.
    """
    try:
        return literal_values(text, KEYS)
    except ValueError as error:
        raise UserError(
            f'{source}: its config holds more than plain values, and nothing in it is executed: name a file with '
            '--configs'
        ) from error


def _backbone_of(cfg: Config) -> Config:
    """What :class:`TrainedModel` keeps of a config; the backbone's type names its library."""
    model = cfg.get('model') or {}
    if 'backbone' not in model:
        raise UserError(f'{cfg.filename}: the config has no model.backbone')
    scope = cfg.get('default_scope') or 'mmengine'
    backbone = {key: value for key, value in model.backbone.items() if key not in NOT_WANTED}
    if isinstance(backbone['type'], str) and '.' not in backbone['type'] and scope != 'mmengine':
        backbone['type'] = f'{scope}.{backbone["type"]}'
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    wanted = dict(default_scope=scope, model=dict(backbone=backbone, data_preprocessor=preprocessor))
    return Config(wanted, cfg_text=cfg.text, filename=cfg.filename)


def _length(epoch: int, iterations: int) -> str:
    """In words; in trainings by iterations, mmengine counts no epochs."""
    parts = [f'{count:,} {unit}' for count, unit in ((epoch, 'epochs'), (iterations, 'iterations')) if count]
    return ', '.join(parts)
