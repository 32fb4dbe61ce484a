"""``init_cfg=dict(type='Pretrained', ...)`` that loads all weights of a module, or fails."""

import pickle
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .. import compat
from ..errors import UserError
from .safetensors_file import SUFFIX, load_from_safetensors

# What torch.load raises on a file that is cut off, damaged, something else, or asks for code to be run
UNREADABLE = (RuntimeError, EOFError, OSError, LookupError, ValueError, struct.error, pickle.UnpicklingError)


class PretrainedError(UserError):
    """A checkpoint cannot be read, or does not fit the module it should fill; the message says which and why."""


def read_checkpoint(checkpoint: str, map_location: str = 'cpu'):
    """What a checkpoint holds; it is never executed. Of a local file only what is used is read.

    Args:
        checkpoint: A path, or what else mmengine's loader knows (``https://``, ``torchvision://``).
        map_location: As for ``torch.load``.

    Raises:
        PretrainedError: It is damaged, or asks for code to be run; or there is no network.
        FileNotFoundError: There is no such file.
    """
    compat.allow_mmengine_checkpoints()  # again: onedl-mmengine takes its types off the list after a load of its own
    try:
        if Path(checkpoint).suffix == SUFFIX:
            return load_from_safetensors(checkpoint, map_location)
        if Path(checkpoint).exists():
            mmap = zipfile.is_zipfile(checkpoint)
            return torch.load(checkpoint, map_location=map_location, weights_only=True, mmap=mmap)
        with compat.refuse_code():
            return CheckpointLoader.load_checkpoint(checkpoint, map_location=map_location, logger='current')
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        reason = re.split(r'\. |\n', str(error))[0] or type(error).__name__
        raise PretrainedError(
            f'cannot read the checkpoint {checkpoint}: {reason}; is it whole, and of tensors alone?'
        ) from error


def load_pretrained(
    module: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    map_location: str = 'cpu',
    absent: Sequence[str] = (),
) -> None:
    """Fill ``module`` from a checkpoint, whole; log how many weights were used and how many of the file were not.

    mmengine's own ``Pretrained`` goes on with random weights where names or shapes differ.

    Args:
        module: What is filled.
        checkpoint: As in :func:`read_checkpoint`.
        prefix: Where the module's weights are in the checkpoint: 'backbone.' in one that mmpretrain saved.
        map_location: As for ``torch.load``.
        absent: Names of parts that the module may be built without; the checkpoint may have them all the same.

    Raises:
        PretrainedError: It cannot be read, or weights are missing, left over under ``prefix`` or of other shapes.
        FileNotFoundError: There is no such file.
    """
    content = read_checkpoint(checkpoint, map_location)
    weights = content.get('state_dict', content) if isinstance(content, Mapping) else content
    if not isinstance(weights, Mapping):
        raise PretrainedError(f'{checkpoint} holds no weights by name')
    prefix = f'{prefix.removesuffix(".")}.' if prefix else ''
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    try:
        keys = module.load_state_dict(own, strict=False)
    except (RuntimeError, ValueError) as error:  # shapes; positions of an unknown grid
        raise PretrainedError(f'{checkpoint} does not fit: {str(error).splitlines()[-1].strip()}') from error
    surplus = [name for name in keys.unexpected_keys if name.split('.')[0] not in absent]
    if keys.missing_keys or surplus:
        raise PretrainedError(_complaint(module, checkpoint, prefix, weights, keys.missing_keys, surplus))
    total = len(module.state_dict())
    print_log(
        f'{type(module).__name__}: all {total} weights loaded from {checkpoint}'
        f'{f", prefix {prefix!r}" if prefix else ""}; {len(weights) - total} others of the file are not used',
        logger='current',
    )


def count_weights(names: Sequence[str]) -> str:
    """'3 weights (the.first, ...)'."""
    return f'{len(names)} weights ({names[0]}{", ..." * (len(names) > 1)})'


def _complaint(
    module: nn.Module, checkpoint: str, prefix: str, weights: Mapping[str, Tensor], missing: list, surplus: list
) -> str:
    """One line: what does not fit, and the likely remedy."""
    wrong = {'missing': missing, 'left over': surplus}
    parts = [f'{count_weights(names)} {what}' for what, names in wrong.items() if names]
    wanted = next(iter(module.state_dict()))
    places = sorted({name.removesuffix(wanted) for name in weights if f'.{name}'.endswith(f'.{wanted}')} - {prefix})
    remedy = 'is it of the same arch? tools/model_converters converts released files'
    if places:
        remedy = f'prefix={places[0]!r} would be another place to look'
    return f'{checkpoint} does not fit {type(module).__name__} under prefix {prefix!r}: {", ".join(parts)}; {remedy}'
