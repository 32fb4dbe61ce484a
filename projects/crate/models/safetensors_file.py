"""Weights as safetensors: a file that cannot hold code, and at half precision half as large."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..files import atomic, make_folder

SUFFIX = '.safetensors'
META = ('cfg', 'experiment_name', 'epoch', 'iter', 'seed')  # what is kept of what mmengine says of a checkpoint


@CheckpointLoader.register_scheme(prefixes=rf'.*\{SUFFIX}$')
def load_from_safetensors(filename: str, map_location: str | torch.device | None = None) -> dict:
    """A file as mmengine's checkpoints are: ``dict(meta=..., state_dict=...)``.

    It is known to mmengine's loader, and so to ``load_from``, ``init_cfg=dict(type='Pretrained')`` and every tool here.

    Args:
        filename: The file.
        map_location: As for ``torch.load``.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is damaged.
    """
    if not Path(filename).is_file():
        raise FileNotFoundError(2, 'No such file', filename)
    try:
        with safe_open(filename, framework='pt', device=str(map_location or 'cpu')) as file:
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
            return dict(meta=meta, state_dict={name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise OSError(f'{filename}: {error}') from error


def save_safetensors(checkpoint: Mapping, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the weights of a checkpoint, in one step, with what ``META`` names.

    Args:
        checkpoint: What mmengine saved.
        path: The file.
        dtype: Of the floating-point weights.
    """
    weights = {name: _compact(value, dtype) for name, value in checkpoint['state_dict'].items()}
    meta = {key: value for key, value in checkpoint.get('meta', {}).items() if key in META}
    make_folder(path.parent)
    with atomic(path) as part:
        part.write_bytes(save(weights, dict(format='pt', meta=json.dumps(meta))))  # save_file hides it from other users


def _compact(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (value.to(dtype) if value.is_floating_point() else value).contiguous()
