"""Check the state of a training in a checkpoint from anywhere, before mmengine takes it over."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real

from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from torch import Tensor
from torch.optim import SGD

from ..checkpoints.fill import warn_if_not_finite
from ..checkpoints.read import CheckpointError, listed
from ..files import printable

PARTS = ('meta', 'message_hub', 'optimizer')
HUB = ('log_scalars', 'runtime_info', 'resumed_keys')
SEEDS = 2**32  # NumPy takes no other
COUNTS = 2**31
LARGEST = 1e300  # number in a state


def check_state(checkpoint: object, source: str) -> None:
    """Refuse a state that mmengine cannot have saved; remove code that mmengine would execute.

    mmengine <= 0.10.7 runs the text in ``meta['config']``, a key of old files, as Python when a training is resumed.

    Args:
        checkpoint: Content of the file, changed in place: ``meta['config']`` and empty histories are removed.
        source: File, for messages.

    Raises:
        CheckpointError: The file holds weights alone, or a part of the state is of a kind that cannot be used.
    """
    saved_seed(checkpoint, source)
    for place in _unusable(checkpoint):
        raise _refusal(source, place)
    checkpoint['meta'].pop('config', None)
    scalars = checkpoint['message_hub']['log_scalars']
    for key in [key for key, value in scalars.items() if isinstance(value, HistoryBuffer) and not len(value.data[0])]:
        del scalars[key]


def check_settings(
    checkpoint: Mapping, optimizer: OptimWrapper | OptimWrapperDict, schedulers: Sequence | Mapping | None, source: str
) -> None:
    """Refuse a state of other optimisers or schedulers than those of the run; warn if a part of it is lost.

    mmengine would set the attributes of one scheduler to values of another, which gives wrong learning rates.

    Args:
        checkpoint: Content of the file, checked by :func:`check_state`.
        optimizer: Optimizer of the run, or several by name.
        schedulers: Schedulers of the run, or lists of them by name.
        source: File, for messages.

    Raises:
        CheckpointError: The number, the kind or a setting of a scheduler or of a group of parameters is another.
    """
    found, source = checkpoint['optimizer'], printable(source)
    wrong = [*_other_groups(found, optimizer.state_dict(), 'optimizer'), *_others(checkpoint, schedulers)]
    if wrong:
        raise CheckpointError(
            f'{source}: a training with this config cannot continue from it: {wrong[0]}; restore the config, or start '
            f'from the weights with --cfg-options load_from={source}'
        )
    _warn_of_losses(found, optimizer, 'optimizer', source)


def _warn_of_losses(found: Mapping, optimizer: OptimWrapper | OptimWrapperDict, path: str, source: str) -> None:
    """Log a warning if trained parameters have no entry in the state, or if the state holds NaN or infinity."""
    if isinstance(optimizer, OptimWrapperDict):
        for name, part in optimizer.items():
            _warn_of_losses(found[name], part, f'{path}.{name}', source)
        return
    names = [name for group in found['param_groups'] for name in group['params']]
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    trained = [name for name, parameter in zip(names, parameters) if parameter.requires_grad]
    missing = [name for name in trained if name not in found['state']]
    if missing and not _is_plain_sgd(optimizer):
        print_log(
            f'{source}: its {path}.state lacks {len(missing)} of {len(trained)} trained parameters: for them the '
            'optimizer starts anew',
            logger='current',
            level=logging.WARNING,
        )
    values = {f'{path}.state[{name}].{key}': v for name, entry in found['state'].items() for key, v in entry.items()}
    warn_if_not_finite({name: value for name, value in values.items() if isinstance(value, Tensor)}, source)


def _is_plain_sgd(optimizer: OptimWrapper) -> bool:
    """Return True for SGD without momentum, which has no state."""
    return isinstance(optimizer.optimizer, SGD) and not any(group['momentum'] for group in optimizer.param_groups)


def saved_seed(checkpoint: object, source: str) -> int | None:
    """Return the seed in a checkpoint of a training; raise CheckpointError as :func:`check_state` does."""
    missing = [part for part in PARTS if not isinstance(checkpoint, dict) or part not in checkpoint]
    if missing:
        source, what = printable(source), 'no optimizer' if missing == ['optimizer'] else 'weights only'
        raise CheckpointError(f'{source} holds {what}: start from it with --cfg-options load_from={source}')
    if not isinstance(checkpoint['meta'], dict):
        raise _refusal(source, 'meta')
    seed = checkpoint['meta'].get('seed')
    if seed is not None and not is_count(seed, SEEDS):
        raise _refusal(source, 'meta.seed')
    return seed


def _others(checkpoint: Mapping, schedulers: Sequence | Mapping | None) -> Iterator[str]:
    """Yield what is different about the schedulers of a file."""
    found, wanted = (
        value if isinstance(value, dict) else {'': value or []}
        for value in (checkpoint.get('param_schedulers'), schedulers)
    )
    for name in {**found, **wanted}:
        theirs, ours = found.get(name, []), wanted.get(name, [])
        if len(theirs) != len(ours):
            yield f'it has {len(theirs)} schedulers, and the config {len(ours)}'
        for number, (state, scheduler) in enumerate(zip(theirs, ours)):
            expected = scheduler.state_dict()
            for key, value in state.items():
                if key not in expected or not _is_alike(value, expected[key]):
                    yield f'{key:.60} of param_schedulers[{number}] does not belong to a {type(scheduler).__name__}'


def _other_groups(found: Mapping, wanted: Mapping, path: str) -> Iterator[str]:
    """Yield what is different about the groups of parameters; a version of torch may have more settings or less."""
    if 'param_groups' not in wanted or 'param_groups' not in found:
        if other := sorted(wanted.keys() ^ found.keys()):
            yield f'its {path} has other parts ({listed(other)})'
        for name in wanted.keys() & found.keys():
            yield from _other_groups(found[name], wanted[name], f'{path}.{name}')
        return
    for number, (group, expected) in enumerate(zip(found['param_groups'], wanted['param_groups'])):
        if (missing := sorted(expected.keys() - group.keys())) and group.keys() - expected.keys():
            yield f'its {path} is of another type, without {missing[0]}'
        kinds = {*map(type, group['params'])}
        if kinds != {str} and (kinds - {int} or group['params'] != expected['params']):  # FSDP names them
            yield f'its {path}.param_groups[{number}] has other parameters'
        for key in expected:
            if key in group and key != 'params' and not _is_alike(group[key], expected[key]):
                yield f'its {path}.param_groups[{number}].{key} cannot be used'


def _is_alike(value: object, expected: object) -> bool:
    """Return True if a value may take the place of another: a finite number of a number, and so on."""
    if isinstance(expected, list | tuple):
        is_list = isinstance(value, list | tuple) and len(value) == len(expected)
        return is_list and all(map(_is_alike, value, expected))
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(expected, bool):
        return value is expected
    if isinstance(expected, Real):
        return isinstance(value, Real) and bool(abs(value) < LARGEST)
    return value == expected if isinstance(expected, str) else True


def _refusal(source: str, place: str) -> CheckpointError:
    line = f'{printable(source)}: a training cannot continue from it: its {place} is not what mmengine saves'
    return CheckpointError(line)


def _unusable(checkpoint: Mapping) -> Iterator[str]:
    """Yield the keys of parts that cannot be used."""
    for part in PARTS:
        if not isinstance(checkpoint[part], dict):
            yield part
    meta, hub = checkpoint['meta'], checkpoint['message_hub']
    for key in ('epoch', 'iter'):
        if not is_count(meta.get(key)):
            yield f'meta.{key}'
    for key in HUB:
        if not isinstance(hub.get(key), dict) or not all(isinstance(name, str) for name in hub[key]):
            yield f'message_hub.{key}'
    if not all(type(value) is bool for value in hub['resumed_keys'].values()):
        yield 'message_hub.resumed_keys'
    yield from _unusable_optimizer(checkpoint['optimizer'], 'optimizer')
    schedulers = checkpoint.get('param_schedulers', [])
    for group in schedulers.values() if isinstance(schedulers, dict) else [schedulers]:
        if not isinstance(group, list) or not all(map(_is_scheduler, group)):
            yield 'param_schedulers'


def _unusable_optimizer(state: Mapping, path: str) -> Iterator[str]:
    """Do the same for the state of one optimizer, or of several by name."""
    if 'param_groups' not in state:
        for name, part in state.items():
            if not isinstance(part, dict) or 'param_groups' not in part:
                yield f'{path}.{name}'
            else:
                yield from _unusable_optimizer(part, f'{path}.{name}')
        return
    groups, values = state['param_groups'], state.get('state')
    if not isinstance(groups, list) or not all(map(_is_group, groups)):
        yield f'{path}.param_groups'
    values = values.values() if isinstance(values, dict) else [None]
    if not all(isinstance(value, dict) and not _holds_text(value) for value in values):
        yield f'{path}.state'


def _is_group(group: object) -> bool:
    return isinstance(group, dict) and isinstance(group.get('params'), list)


def _holds_text(state: Mapping) -> bool:
    return any(isinstance(value, str | bytes) for value in state.values())


def _is_scheduler(state: object) -> bool:
    """Return True if all entries may become attributes of a scheduler: none has the name of a method."""
    return isinstance(state, dict) and all(isinstance(key, str) and not hasattr(_ParamScheduler, key) for key in state)


def is_count(value: object, end: int = COUNTS) -> bool:
    """Return True for an integer that is at least 0 and below ``end``."""
    return type(value) is int and 0 <= value < end
