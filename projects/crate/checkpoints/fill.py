"""Fill a module with all its weights from a checkpoint, or raise an error.

If names differ, torch and mmengine continue with random weights.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from torch import Tensor, nn

from ..files import printable
from .read import CheckpointError, Weights, listed, read_weights, rename_state, without_wrappers

MISFIT = re.compile(
    r'size mismatch for (\S+): copying a param with shape torch\.Size\(\[([\d, ]*)\]\) from checkpoint, '
    r'the shape in current model is torch\.Size\(\[([\d, ]*)\]\)'
)


@dataclass(frozen=True)
class Filling:
    """Result of loading the weights of a checkpoint.

    Attributes:
        tensors: Weights that were loaded, by the names of the module, with ``_metadata`` as in a state dict.
        surplus: Names of weights that the module has no place for.
        kept: Names of weights of the module that keep their values, since they are optional.
    """

    tensors: Mapping[str, Tensor]
    surplus: list[str]
    kept: list[str]


def fill(
    module: nn.Module,
    weights: Weights,
    prefix: str = '',
    optional: Sequence[str] = (),
    absent: Sequence[str] | None = None,
    setting: str = '',
) -> Filling:
    """Load all weights of a module.

    A file of the backbone alone fills a model if nothing else in it has weights. NaN and infinity are logged as a
    warning.

    Args:
        module: Module to fill; FSDP may have sharded it.
        weights: Weights of a file.
        prefix: Prefix of the names of the module's weights in the file, such as 'backbone.'.
        optional: Names of parts that keep their values where the file has no weights of their shapes.
        absent: Names of parts that the file may have and the module lacks; None: any.
        setting: Name of the setting by which a user names ``optional`` parts, for messages.

    Raises:
        CheckpointError: Weights of the module are missing or have other shapes, or the file has too many weights; the
            message says what would fit.
    """
    module = getattr(module, '_orig_mod', module)  # torch.compile
    own = {without_wrappers(key): value for key, value in _values(module)}
    _check_parts(optional, own)
    tensors = _for_loading(module, _placed(own, weights.under(prefix)).tensors, own, optional)
    try:
        _check_kinds(tensors, own)
        with _telling(module):
            keys = module.load_state_dict(tensors, strict=False)
    except (RuntimeError, ValueError, AssertionError) as error:  # shapes; positions of an unknown grid
        told, wrong = _other_shapes(str(error))
        raise _misfit(module, weights, prefix, told + _permission(wrong, own, setting)) from error
    unfilled = [key for key in map(without_wrappers, keys.missing_keys) if not _is_made(module, key)]
    unfilled = [key for key in unfilled if '.lora_' in key or not _is_in(key, _initialised(module))]
    missing = [key for key in unfilled if not _is_in(key, optional)]
    surplus = [key for key in keys.unexpected_keys if absent is not None and not _is_in(key, absent)]
    if missing or surplus:
        wrong = {'missing': missing, 'left over': surplus}
        told = ', '.join(f'{count_weights(names)} {what}' for what, names in wrong.items() if names)
        told += f'; {_remedy(own, weights, prefix, missing)}' + _permission(missing, own, setting)
        raise _misfit(module, weights, prefix, told)
    unused = set(keys.unexpected_keys)
    used = rename_state(tensors, lambda key: None if key in unused else key)
    warn_if_not_finite(used, weights.source)
    return Filling(used, [*keys.unexpected_keys], unfilled)


def load_pretrained(
    module: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    map_location: str = 'cpu',
    absent: Sequence[str] = (),
) -> None:
    """Load all weights of a module from a checkpoint; log how many weights of the file were used and how many not.

    Args:
        module: Module to fill.
        checkpoint: File or URL, see :func:`read_checkpoint`.
        prefix: Prefix of the names of the module's weights in the file: 'backbone.' in a file of mmpretrain.
        map_location: Argument of ``torch.load``.
        absent: Names of parts that the checkpoint may have and the module lacks.

    Raises:
        CheckpointError: The file cannot be read, or weights are missing, left over under ``prefix`` or of other shapes.
    """
    weights = read_weights(checkpoint, map_location)
    prefix = f'{prefix.removesuffix(".")}.' if prefix else ''
    fill(module, weights, prefix, absent=absent)
    total = len(module.state_dict())
    print_log(
        f'{type(module).__name__}: all {total} weights loaded from {printable(checkpoint)}'
        f'{f", prefix {prefix!r}" if prefix else ""}; {len(weights.tensors) - total} others of the file are not used',
        logger='current',
    )


def count_weights(names: Sequence[str]) -> str:
    """Return '5 weights (first, second, third, ...)'."""
    return f'{len(names)} weights ({listed(names)})'


def warn_if_not_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Log a warning that names the first weight with NaN or infinity, if there is one."""
    for key, value in tensors.items():
        if value.is_floating_point() and value.element_size() > 1 and not value.isfinite().all():
            print_log(
                f'{source} holds NaN or infinity, first in {printable(key)}', logger='current', level=logging.WARNING
            )
            return


def _values(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, value) of parameters and of buffers that are saved; values of a sharded module are shards."""
    for path, part in module.named_modules(remove_duplicate=False):
        own = dict(part.named_buffers(recurse=False, remove_duplicate=False))
        kept = [(key, value) for key, value in own.items() if key not in part._non_persistent_buffers_set]
        for key, value in [*part.named_parameters(recurse=False, remove_duplicate=False), *kept]:
            yield f'{path}.{key}'.removeprefix('.'), value


def _check_parts(optional: Sequence[str], own: Iterable[str]) -> None:
    for part in optional:
        if not any(_is_in(key, [part]) for key in own):
            tops = dict.fromkeys(key.split('.')[0] for key in own)
            raise CheckpointError(f'the model has no weights under {part!r}, only under {listed(tops, 9)}')


def _placed(own: Mapping[str, Tensor], weights: Weights) -> Weights:
    """Return the weights with the prefix that the names of the file lack, if there is one that makes them fit."""
    if not weights.tensors or own.keys() <= weights.tensors.keys():
        return weights
    for prefix in _prefixes(own, next(iter(weights.tensors))):
        if own.keys() <= {f'{prefix}{name}' for name in weights.tensors}:
            print_log(f'weights of {weights.source}: taken for those of {prefix.rstrip(".")!r}', logger='current')
            return weights.below(prefix)
    return weights


def _check_kinds(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise ValueError for integers in place of weights, as in a quantised file: torch converts without their scale."""
    wrong = [key for key, value in tensors.items() if key in own and own[key].is_floating_point()]
    if wrong := [key for key in wrong if not tensors[key].is_floating_point()]:
        raise ValueError(f'{count_weights(wrong)} of integers, such as {tensors[wrong[0]].dtype}, in place of floats')


def _for_loading(
    module: nn.Module, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], optional: Sequence[str]
) -> Mapping[str, Tensor]:
    """Return the weights without optional ones of another shape; name the metadata of torch as the module does."""
    others = {key for key, value in tensors.items() if _is_in(key, optional) and key in own}
    others = {key for key in others if tensors[key].shape != own[key].shape}
    chosen = rename_state(tensors, lambda key: None if key in others else key)
    for path, _ in module.named_modules():
        entry = chosen._metadata.get(without_wrappers(path))
        if entry is not None:
            chosen._metadata[path] = entry
    return chosen


def _adapters(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, module) of each LoRAModel of mmpretrain, which saves only its adapters."""
    found = [(path, part) for path, part in module.named_modules() if type(part).__name__ == 'LoRAModel']
    return [(without_wrappers(path), part) for path, part in found]


@contextmanager
def _telling(module: nn.Module) -> Iterator[None]:
    """Let LoRA report missing weights within the block; it hides the missing weights of the whole model."""
    hooks = [part._load_state_dict_post_hooks for _, part in _adapters(module)]
    kept = [dict(each) for each in hooks]
    for each in hooks:
        each.clear()
    try:
        yield
    finally:
        for each, before in zip(hooks, kept):
            each.update(before)


def _initialised(module: nn.Module) -> list[str]:
    """Return the parts below LoRA that need no weights of the file: ``init_cfg`` filled them when they were built."""
    bases = [(f'{path}.module'.removeprefix('.'), part.module) for path, part in _adapters(module)]
    cfgs = [(path, getattr(base, 'init_cfg', None)) for path, base in bases]
    cfgs = [(path, [cfg] if isinstance(cfg, dict) else cfg or []) for path, cfg in cfgs]
    return [path for path, given in cfgs if any(cfg.get('type') in ('Pretrained', PretrainedInit) for cfg in given)]


def _is_in(key: str, parts: Sequence[str]) -> bool:
    return any(f'{key}.'.startswith(f'{part.removesuffix(".")}.') for part in parts)


def _is_made(module: nn.Module, key: str) -> bool:
    """Return True for a counter or a table of numbers that the constructor makes; it is no weight."""
    buffer = {without_wrappers(name): value for name, value in module.named_buffers()}.get(key)
    return buffer is not None and not buffer.is_floating_point()


def _other_shapes(error: str) -> tuple[str, list[str]]:
    """Return the message of torch about wrong shapes as one line, and the names of these weights."""
    found = [(without_wrappers(name), given, own) for name, given, own in MISFIT.findall(error)]
    if not found:
        return error.splitlines()[-1].strip() if error else 'its shapes are others', []
    texts = [f'{name} ([{given}] instead of [{own}])' for name, given, own in found]
    return f'{len(found)} weights of other shapes: {listed(texts)}', [name for name, _, _ in found]


def _misfit(module: nn.Module, weights: Weights, prefix: str, told: str) -> CheckpointError:
    place = f' under prefix {prefix!r}' if prefix else ''
    trained = f' (it was saved by a training with {weights.training})' if weights.training else ''
    return CheckpointError(f'{weights.source} does not fit the model {type(module).__name__}{place}: {told}{trained}')


def _remedy(own: Mapping[str, Tensor], weights: Weights, prefix: str, missing: Sequence[str]) -> str:
    """Return a hint: where the weights may be, or what to do."""
    names = weights.tensors.keys()
    places = [place for place in _prefixes(names, missing[0]) if place != prefix] if missing else []
    if places:
        return f'prefix={places[0]!r} is where the file has such names'
    others = [name for name in names if name not in own]
    for inner in _prefixes(missing, others[0]) if others else []:
        if 2 * sum(f'{inner}{name}' in missing for name in others) >= len(missing):
            return f'names of the file lack the prefix {inner!r} of the model'
    if own.keys() & weights.under(prefix).tensors.keys():
        return 'is it of the same arch?'
    return f'the file has {listed(names)}; is it of the same arch? tools/model_converters converts released files'


def _prefixes(names: Iterable[str], end: str) -> list[str]:
    """Return the prefixes of all names that end in ``end``; a prefix is empty or ends in a dot."""
    return sorted({name.removesuffix(end) for name in names if f'.{name}'.endswith(f'.{end}')})


def _permission(wrong: Iterable[str], own: Mapping[str, Tensor], setting: str) -> str:
    """Return the setting that lets the smallest parts with these weights stay random."""
    wrong = set(wrong)
    parts = {}
    for key in own:
        if setting and key in wrong:
            paths = accumulate(key.split('.'), '{}.{}'.format)
            parts[next(path for path in paths if all(name in wrong for name in own if _is_in(name, [path])))] = None
    return f'; to start these parts from random weights: {setting}={",".join([*parts][:9])}' if parts else ''
