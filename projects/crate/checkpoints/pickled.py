"""Stand-ins for the types in the logs of a checkpoint, so that reading a file cannot do more than read numbers.

mmengine saves its message hub as HistoryBuffer objects around NumPy arrays. NumPy's own constructors trust their
arguments: an object dtype makes them follow pointers from the file. Forged states of a dtype or an array crash later.
The stand-ins take only what mmengine writes, and raise ValueError for everything else. They build HistoryBuffers,
arrays and numbers, which are saved again as the real ones are.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint
from mmengine.utils import digit_version

PLAIN_DTYPE = re.compile('b1|[iu][1248]|f[248]')
DTYPE_STATES = tuple((3, order, None, None, None, -1, -1, 0) for order in '<|')  # version, byte order, no structure
STATISTICS = ('min', 'max', 'current', 'mean')
MAX_SIZE = 2**31  # of an array, with 1 in place of lengths of 0


class PlainDtype:
    """Stands in for ``numpy.dtype``: only bool, integers and floats, little-endian, without structure."""

    def __init__(self, code=None, *flags):
        _require(isinstance(code, str) and PLAIN_DTYPE.fullmatch(code), f'the dtype {code!r}')
        _require(flags == (False, True), f'flags of the dtype {code!r}')
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        _require(state in DTYPE_STATES, f'a state of the dtype {self.dtype}')

    def read(self, data) -> np.ndarray:
        """Return ``data`` as a one-dimensional array of this type."""
        _require(type(data) is bytes and len(data) % self.dtype.itemsize == 0, f'data of the dtype {self.dtype}')
        _require(self.dtype != bool or max(data, default=0) <= 1, 'a bool that is neither 0 nor 1')
        return np.frombuffer(data, self.dtype)


class PlainArray(np.ndarray):
    """Stands in for ``numpy.ndarray``: empty, until it is given the state of an array of :class:`PlainDtype`."""

    def __new__(cls, *arguments):  # noqa: D102 -- see the class
        _require(not arguments, 'an array from arguments')
        return super().__new__(cls, 0)

    def __setstate__(self, state):
        _require(type(state) is tuple and len(state) == 5, 'a state of an array')
        version, shape, dtype, is_fortran, data = state
        _require(version == 1 and type(is_fortran) is bool and type(dtype) is PlainDtype, 'a state of an array')
        _require(type(shape) is tuple and len(shape) <= 32, 'the shape of an array')
        _require(all(type(length) is int and length >= 0 for length in shape), 'the shape of an array')
        _require(math.prod(length or 1 for length in shape) < MAX_SIZE, 'the shape of an array')
        _require(math.prod(shape) == dtype.read(data).size, 'an array whose data do not have its shape')
        super().__setstate__((1, shape, dtype.dtype, is_fortran, data))

    def __reduce_ex__(self, protocol):
        return np.array(self).__reduce_ex__(protocol)


class PlainHistory(HistoryBuffer):
    """Stands in for HistoryBuffer, and becomes one with the state it is given."""

    def __new__(cls, *arguments):  # noqa: D102 -- see the class
        _require(not arguments, 'a HistoryBuffer from arguments')
        return super().__new__(cls)

    def __setstate__(self, state):
        names = {'max_length', '_log_history', '_count_history'}
        _require(type(state) is dict and {*state} - {'statistics_methods'} == names, 'a state of a HistoryBuffer')
        statistics = state.get('statistics_methods', {})
        _require(type(statistics) is dict, 'statistics of a HistoryBuffer')
        for name, method in statistics.items():
            _require(name in STATISTICS and method is getattr(HistoryBuffer, name), 'statistics of a HistoryBuffer')
        log, count, max_length = state['_log_history'], state['_count_history'], state['max_length']
        _require(type(log) is type(count) is PlainArray and log.ndim == 1 and log.shape == count.shape, 'a history')
        _require(type(max_length) is int and max_length > 0, 'the length of a history')
        self.__class__ = HistoryBuffer
        self.__init__(log, count, max_length)


def reconstruct(*arguments) -> PlainArray:
    """Stand in for ``numpy.core.multiarray._reconstruct``."""
    _require(arguments == (PlainArray, (0,), b'b'), 'an array of its own')
    return PlainArray()


def scalar(dtype=None, data=None) -> np.generic:
    """Stand in for ``numpy.core.multiarray.scalar``."""
    _require(type(dtype) is PlainDtype, 'a number without a plain dtype')
    numbers = dtype.read(data)
    _require(numbers.size == 1, 'a number whose data do not have its size')
    return numbers[0]


def history_buffer_method(owner=None, name=None, *default):
    """Stand in for ``getattr``, by which a HistoryBuffer names its own methods."""
    _require(owner is PlainHistory and name in STATISTICS and not default, f'the attribute {name!r}')
    return getattr(HistoryBuffer, name)


def no_bytes(*arguments) -> bytes:
    """Stand in for ``bytes``, by which pickle writes the data of an empty array."""
    _require(not arguments, 'bytes of a size')
    return b''


def plain_bytearray(*arguments) -> bytearray:
    """Stand in for ``bytearray``, which fills the memory if it is given a size."""
    _require(all(isinstance(argument, bytes | str) for argument in arguments), 'bytes of a size')
    return bytearray(*arguments)


def empty_tensor(*arguments) -> torch.Tensor:
    """Stand in for ``torch.FloatTensor`` and the like, which take a size and leave the numbers to chance."""
    _require(not arguments, 'a tensor of a size')
    return torch.Tensor()


def rebuild_tensor(function, kind, arguments, state=None) -> torch.Tensor:
    """Stand in for ``torch._tensor._rebuild_from_type_v2``: rebuild a tensor without the attributes of the file."""
    _require(kind in (empty_tensor, torch.nn.Parameter), 'a tensor of its own type')
    return function(*arguments)


def _require(condition: object, asked_for: str) -> None:
    if not condition:
        raise ValueError(f'checkpoint refused: it asks for {asked_for:.60}, which mmengine does not write')


# Name in a file -> its stand-in. A file may come from NumPy 1 (core) or 2 (_core).
STAND_INS = {
    'mmengine.logging.history_buffer.HistoryBuffer': PlainHistory,
    'builtins.getattr': history_buffer_method,
    'builtins.bytes': no_bytes,
    'numpy.ndarray': PlainArray,
    'numpy.dtype': PlainDtype,
    **{f'numpy.{core}.multiarray._reconstruct': reconstruct for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': scalar for core in ('core', '_core')},
}


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the logs in a checkpoint that mmengine saved.

    Reason: it is the default since torch 2.6; mmengine <= 0.10.7 saves its message hub as HistoryBuffer objects around
    NumPy arrays and cannot resume from its own files. onedl-mmengine <= 0.10.12 allows these types as they are, and
    ``getattr`` of anything, while it loads, and then takes them off torch's list. Both get the stand-ins of
    this file, which build nothing but plain numbers. Unnecessary with: an mmengine that saves plain numbers.
    """
    if digit_version(torch.__version__) < digit_version('2.6'):
        return
    torch.serialization.add_safe_globals([(stand_in, name) for name, stand_in in STAND_INS.items()])
    allowed = torch._weights_only_unpickler._get_allowed_globals()  # torch's own
    allowed['builtins.bytearray'], allowed['torch._tensor._rebuild_from_type_v2'] = plain_bytearray, rebuild_tensor
    kinds = (torch.Tensor, *torch._tensor_classes)
    allowed.update({name: empty_tensor for name, kind in allowed.items() if kind in kinds})
    if hasattr(checkpoint, 'get_torch_safe_globals'):
        checkpoint.get_torch_safe_globals = list  # torch would choose at random between two types of one name


@contextmanager
def refuse_code() -> Iterator[None]:
    """Let ``torch.load`` run no code from a file within the block, whatever its caller says.

    Reason: onedl-mmengine <= 0.10.12 loads again with ``weights_only=False`` what asks for code; torch < 2.6 does so at
    once. ``tools/train.py`` and ``tools/test.py`` set the same variable for the whole process.
    """
    with patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD='1'):
        yield
