"""The model that a checkpoint describes itself: its backbone's config, and how it was trained."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..checkpoints.read import read_checkpoint
from ..engine.launch import read_config
from ..errors import UserError
from ..files import sha256
from .untrusted import check_backbone, check_types, literal_config

LEFT_OUT = ('init_cfg', 'out_indices', 'frozen_stages')  # arguments of a backbone that a measurement has no use for
RUN = re.compile(r'(?P<config>.+)_\d{8}_\d{6}')  # how mmengine names a run


@dataclass(frozen=True)
class CheckpointModel:
    """A checkpoint, and the config to build its backbone."""

    name: str  # on pages and in messages
    checkpoint: Path
    digest: str  # SHA-256 of the file, in hexadecimal
    # `model.backbone` with all its layers and no other weights to load, `model.data_preprocessor`, `default_scope`
    config: Config
    config_name: str  # name of the training config; empty where the checkpoint does not say
    training: str  # length of the training in words; empty where the checkpoint does not say


def default_names(checkpoints: Sequence[Path]) -> list[str]:
    """Return short, different names: the folder up to a '_' (in a config's name, the backbone), or folder and file."""
    folders = [path.resolve().parent.name.split('_')[0] for path in checkpoints]
    files = [f'{folder}/{path.stem}' for folder, path in zip(folders, checkpoints)]
    for names in (folders, files):
        if len({*names}) == len(names):
            return names
    return [str(path) for path in checkpoints]


def read_model(checkpoint: Path, name: str, config: str | None = None) -> CheckpointModel:
    """Read a checkpoint of a training under a name, with its config.

    ``config`` is a file with the backbone; default: the text of the config that mmengine keeps in a checkpoint. If that
    text does more than build layers (``untrusted.py``), it is a UserError.
    """
    meta = _dictionary(_dictionary(read_checkpoint(str(checkpoint))).get('meta'))
    text = meta.get('cfg')
    if config is not None:
        text, found = '', _backbone_of(read_config(config), config)
    elif text is not None:
        found = _backbone_of(literal_config(text, str(checkpoint)), str(checkpoint))
        check_types(found['model']['data_preprocessor'], 'data_preprocessor', checkpoint)
        check_backbone(found['model']['backbone'], found['default_scope'], checkpoint)
    else:
        raise UserError(f'{checkpoint} holds no config (it was not written by a training): name one with --configs')
    run = RUN.fullmatch(str(meta.get('experiment_name')))
    # in trainings by iterations mmengine counts no epochs; ignore anything but numbers
    counts = ((meta.get('epoch'), 'epochs'), (meta.get('iter'), 'iterations'))
    return CheckpointModel(
        name=name,
        checkpoint=checkpoint,
        digest=sha256(checkpoint),
        config=Config(found, cfg_text=text, filename=str(config or checkpoint)),
        config_name=Path(config).stem if config else run['config'] if run else '',
        training=', '.join(f'{count:,} {unit}' for count, unit in counts if isinstance(count, int) and count),
    )


def _backbone_of(cfg: Mapping, source: str) -> dict:
    """Return the part of a config that :class:`CheckpointModel` keeps; the backbone's type names its library."""
    model = _dictionary(cfg.get('model'))
    backbone = _dictionary(model.get('backbone'))
    if 'type' not in backbone:
        raise UserError(f'{source}: the config has no model.backbone')
    scope = cfg.get('default_scope') or 'mmengine'
    backbone = {key: value for key, value in backbone.items() if key not in LEFT_OUT}
    if isinstance(backbone.get('module'), Mapping):  # a wrapper: mmpretrain's LoRAModel
        backbone['module'] = {key: value for key, value in backbone['module'].items() if key not in LEFT_OUT}
    if isinstance(backbone['type'], str) and '.' not in backbone['type'] and scope != 'mmengine':
        backbone['type'] = f'{scope}.{backbone["type"]}'
    preprocessor = _dictionary(model.get('data_preprocessor')) or _dictionary(cfg.get('data_preprocessor'))
    return dict(default_scope=scope, model=dict(backbone=backbone, data_preprocessor=preprocessor))


def _dictionary(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}
