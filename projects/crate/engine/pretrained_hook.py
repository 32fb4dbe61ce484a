"""Check that stock modules took weights from the files of their ``init_cfg``."""

import hashlib
import logging
from collections.abc import Iterator, Mapping

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ..checkpoints.fill import count_weights, warn_if_not_finite
from ..checkpoints.read import CheckpointError, listed, read_weights
from ..files import printable
from ..models import CRATE


class CheckPretrainedHook(Hook):
    """End a training if ``init_cfg`` of a stock module names a file that has none of the module's weights.

    mmengine's ``Pretrained``, and modules that read the file themselves (Swin, BEiT, MAE), continue with random weights
    where names or shapes differ. Some of them log nothing. A file that fits in part is ordinary, since a head or an
    added layer starts random: then a warning counts the weights that are not in the file.

    Modules may rename weights while they load. So weights are compared by their values. CRATE checks its file itself.
    ``load_from`` and ``resume`` replace all weights, and are checked by :class:`WholeWeightsHook`.

    Raises:
        CheckpointError: Before the first iteration.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        """Check the model, after it was initialised."""
        if runner._load_from is not None or isinstance(runner.model, FullyShardedDataParallel):
            return
        for module, given in _pretrained(runner.model):
            _check(module, given)


def _pretrained(model: nn.Module) -> Iterator[tuple[nn.Module, Mapping]]:
    """Yield each stock module that is filled from a file, with its ``init_cfg``; the outer module overwrites inner."""
    outer = []
    for path, module in model.named_modules():
        cfgs = getattr(module, 'init_cfg', None) or []
        for given in [cfgs] if isinstance(cfgs, Mapping) else cfgs:
            if given.get('type') in ('Pretrained', PretrainedInit) and not f'{path}.'.startswith(tuple(outer)):
                outer.append(f'{path}.'.lstrip('.'))
                if not isinstance(module, CRATE) and given.get('checkpoint'):
                    yield module, given


def _check(module: nn.Module, given: Mapping) -> None:
    source = printable(given['checkpoint'])
    tensors = read_weights(given['checkpoint']).tensors
    known = {_digest(value) for value in tensors.values()}
    own = {name: value for name, value in module.state_dict().items() if _is_learnt(value)}
    others = [name for name, value in own.items() if _digest(value) not in known]
    name = type(module).__name__
    if own and len(others) == len(own):
        place = f' under prefix {given["prefix"]!r}' if given.get('prefix') else ''
        raise CheckpointError(
            f'{source} does not fit the model {name}{place}: it has none of the {count_weights(others)}, only '
            f'{listed(tensors)}; correct prefix or checkpoint of init_cfg'
        )
    if others:
        told = f'{name}: {count_weights(others)} of {len(own)} are not in {source}: they are random, or were changed'
        print_log(told, logger='current', level=logging.WARNING)
    warn_if_not_finite({key: value for key, value in own.items() if key not in others}, source)


def _is_learnt(value: Tensor) -> bool:
    """Return False for counters, and for weights of one value (0 or 1), which are alike in any model."""
    return value.is_floating_point() and bool((value != value.flatten()[:1]).any())


def _digest(value: Tensor) -> bytes:
    """Return a digest of the shape and the values, in single precision."""
    plain = value.detach().to('cpu', torch.float32).contiguous()
    return hashlib.blake2b(plain.numpy(), digest_size=16, key=str(tuple(plain.shape)).encode()[-64:]).digest()
