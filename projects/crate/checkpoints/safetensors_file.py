"""Weights as safetensors: a file that cannot hold code, and at half precision half as large.

The library checks the header of a file; there are no checksums of the weights.
"""

import json
import zipfile
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import UserError
from ..files import atomic, make_folder

SUFFIX = '.safetensors'
META = ('cfg', 'experiment_name', 'epoch', 'iter', 'seed')  # the keys of mmengine's meta that are kept


def is_safetensors(path: Path) -> bool:
    """Return True if a file begins as safetensors do, or has their suffix and is no .pth file."""
    with path.open('rb') as file:
        start = file.read(9)
    length = int.from_bytes(start[:8], 'little')
    begins = start[8:] == b'{' and length <= path.stat().st_size - 8
    return begins or (path.suffix == SUFFIX and not zipfile.is_zipfile(path))


def load_from_safetensors(path: Path, map_location: str | torch.device | None = None) -> dict:
    """Return a file in the form of mmengine's checkpoints, ``dict(meta=..., state_dict=...)``.

    Raises:
        OSError: The file is damaged.
        ValueError: The metadata of the training is no JSON.
    """
    try:
        with safe_open(path, framework='pt', device=str(map_location or 'cpu')) as file:
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
            return dict(meta=meta, state_dict={name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise OSError(str(error)) from error


def save_safetensors(
    tensors: Mapping[str, Tensor], meta: Mapping, path: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write weights in one step, with the metadata of ``META``, names and colours of the classes, and position grids.

    Args:
        tensors: Weights by name, from ``state_dict()``.
        meta: Metadata that mmengine saves beside the weights.
        path: File to write.
        dtype: Type of the floating-point weights.

    Raises:
        UserError: There are no weights, or one is NaN, infinite or beyond the range of ``dtype``, or all numbers of a
            weight are too small for it. Nothing is written.
    """
    if not any(value.is_floating_point() and value.numel() for value in tensors.values()):
        raise UserError(f'nothing to write to {path}: there are no weights, which are floating-point numbers')
    weights = {name: _compact(name, value, dtype) for name, value in tensors.items()}
    classes = _classes(meta.get('dataset_meta'))
    meta = {key: value for key, value in meta.items() if key in META and isinstance(value, str | int | float | None)}
    meta |= dict(dataset_meta=classes) if classes else {}
    entries = [*getattr(tensors, '_metadata', {}).items()]
    tables = [(name, entry) for name, entry in entries if f'{name}.pos_embed'.removeprefix('.') in tensors]
    if grids := {name: entry['grid'] for name, entry in tables if 'grid' in entry}:
        meta['grids'] = grids
    make_folder(path.parent)
    with atomic(path) as part:
        part.write_bytes(save(weights, dict(format='pt', meta=json.dumps(meta))))  # save_file hides it from other users


def _classes(data_set: object) -> dict[str, list]:
    """Return the names of the classes and their colours, where the meta information of a data set has them."""
    data_set = data_set if isinstance(data_set, Mapping) else {}
    names, palette = (
        value if isinstance(value, list | tuple) else [] for value in map(data_set.get, ('classes', 'palette'))
    )
    found = dict(classes=[*map(str, names)]) if names else {}
    if palette and all(isinstance(colour, list | tuple) and all(map(_is_byte, colour)) for colour in palette):
        found['palette'] = [[int(value) for value in colour] for colour in palette]
    return found


def _is_byte(value: object) -> bool:
    return isinstance(value, Integral) and 0 <= value < 256


def _compact(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    if not value.is_floating_point():
        return value.clone(memory_format=torch.contiguous_format)  # no two tensors may share memory
    if value.element_size() == 1:  # of 8 bits: torch does not compute with them
        value = value.float()
    if not value.isfinite().all():
        raise UserError(f'{name} holds NaN or infinity: the training diverged, take an earlier checkpoint')
    compact = value.to(dtype, copy=True, memory_format=torch.contiguous_format)
    if not compact.isfinite().all() or (value.any() and not compact.any()):
        raise UserError(
            f'{name} holds numbers up to {value.abs().max().item():g}, which {str(dtype).removeprefix("torch.")} '
            'cannot hold: take --dtype bfloat16 or float32'
        )
    return compact
