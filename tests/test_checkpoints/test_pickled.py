"""Forged logs in a checkpoint: every file that mmengine cannot have written is refused in one line."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from mmengine.logging import HistoryBuffer

from projects.crate import compat
from projects.crate.checkpoints import pickled

ROOT = Path(__file__).resolve().parents[2]
multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
PLAIN = (3, '<', None, None, None, -1, -1, 0)  # state of a plain dtype
POINTER = b'\x41' * 8


class Call:
    """Pickles as a call of ``function``, and gives what it returned ``state``."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


def dtype(code='f8', state=PLAIN, flags=(False, True)):
    return Call(np.dtype, code, *flags, state=state)


def array(shape=(1,), kind=None, data=POINTER, version=1, is_fortran=False, subtype=np.ndarray):
    state = (version, shape, kind or dtype(), is_fortran, data)
    return Call(multiarray._reconstruct, subtype, (0,), b'b', state=state)


def history(**state):
    good = dict(max_length=3, _log_history=np.ones(2), _count_history=np.ones(2, int))
    return Call(HistoryBuffer, state={**good, **state})


def method(name):
    return Call(getattr, HistoryBuffer, name)


FORGED = {
    # seen to end the process, at once or when the value is used
    'object array': array(kind=dtype('O8', (3, '|', None, None, None, -1, -1, 63))),
    'object scalar': Call(multiarray.scalar, dtype('O8', (3, '|', None, None, None, -1, -1, 63)), POINTER),
    'object flag': array(kind=dtype(state=(*PLAIN[:7], 63))),
    'object subarray': array(kind=dtype(state=(3, '<', (np.dtype('O'), (1,)), None, None, -1, -1, 0))),
    'object field': array(kind=dtype(state=(3, '<', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 8, 63))),
    'object field, i4': array(kind=dtype('i4', (3, '<', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 8, 63))),
    'item size': array(kind=dtype(state=(3, '<', None, None, None, 10**6, 8, 0))),
    'negative shape': array(shape=(-1, -1)),
    'pair of huge lengths': array(shape=(2**32, 2**32), data=b''),
    'huge and empty': array(shape=(0, 2**62, 2**62), data=b''),
    # others
    'object dtype': np.dtype('O'),
    'big-endian': np.dtype('>f8'),
    'string': np.array(['text']),
    'complex': np.array([1j]),
    'structured': np.zeros(1, [('a', 'f8')]),
    'time': np.datetime64('2026-01-01'),
    'dtype of a dtype': Call(np.dtype, dtype(), False, True),
    'aligned dtype': Call(np.dtype, 'f8', True, True),
    'metadata': dtype(state=(4, '<', None, None, None, -1, -1, 0, {'a': 1})),
    'state of a dtype': dtype(state='text'),
    'short data': array(data=b'\0' * 7),
    'long data': array(data=b'\0' * 16),
    'no bytes': array(data='12345678'),
    'list in place of bytes': array(data=[1]),
    'no shape': array(shape=8),
    'shape of floats': array(shape=(1.0,)),
    'shape of bools': array(shape=(True,)),
    'too many dimensions': array(shape=(1,) * 65),
    'version': array(version=0),
    'order': array(is_fortran=2),
    'dtype by name': array(kind='f8'),
    'state of an array': Call(multiarray._reconstruct, np.ndarray, (0,), b'b', state=5),
    'bool of 2': array(kind=dtype('b1', (3, '|', None, None, None, -1, -1, 0)), data=b'\2'),
    'array of another type': array(subtype=torch.Tensor),
    'allocation': Call(multiarray._reconstruct, np.ndarray, (10**6,), b'd'),
    'allocation by arguments': Call(np.ndarray, (10**6,)),
    'scalar without data': Call(multiarray.scalar, dtype()),
    'scalar of two': Call(multiarray.scalar, dtype(), POINTER * 2),
    'scalar of a name': Call(multiarray.scalar, 'f8', POINTER),
    'bytes of a size': Call(bytes, 10**6),
    'attribute': Call(getattr, HistoryBuffer, '__init__'),
    'attribute of another': Call(getattr, np.ndarray, 'mean'),
    'attribute by default': Call(getattr, HistoryBuffer, 'nothing', method('min')),
    'one method for another': history(statistics_methods=dict(min=method('max'))),
    'method of another': history(statistics_methods=dict(mean=Call(getattr, HistoryBuffer, 'update'))),
    'new method': history(statistics_methods=dict(harm=method('max'))),
    'statistics': history(statistics_methods=5),
    'attribute of a history': history(update=method('max')),
    'history of text': history(_log_history='text'),
    'history of a list': history(_log_history=[1.0, 2.0]),
    'history of two lengths': history(_log_history=np.ones(3)),
    'history of a matrix': history(_log_history=np.ones((2, 2)), _count_history=np.ones((2, 2))),
    'no length': history(max_length=-5),
    'length of text': history(max_length='text'),
    'history of nothing': Call(HistoryBuffer, state={}),
    'history without a dict': Call(HistoryBuffer, state=5),
    'history by arguments': Call(HistoryBuffer, [1.0], [1]),
}
READ_ALL = """
import sys
from pathlib import Path
import numpy as np
import torch
import projects.crate
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        value = torch.load(path, weights_only=True)
        print(path.name, 'is read as', str(value), str(np.array(value)), flush=True)
    except ValueError as error:
        assert 'refused' in str(error) and '\\n' not in str(error), error
"""


@pytest.fixture(autouse=True)
def applied():
    compat.apply()


def test_every_forged_file_is_refused(tmp_path):
    """In a process of its own: those that are read end it."""
    for name, value in FORGED.items():
        torch.save(value, tmp_path / name)
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    result = subprocess.run([sys.executable, '-c', READ_ALL, tmp_path], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, ''), result.stderr[-2000:]


@pytest.mark.parametrize('name', list(FORGED)[:8])
def test_mmengine_refuses_them_too(name, tmp_path):
    """onedl-mmengine has an allow-list of its own, with NumPy's constructors on it."""
    from mmengine.runner import CheckpointLoader

    torch.save(FORGED[name], tmp_path / 'forged.pth')
    for _ in range(2):
        with pytest.raises(ValueError, match='refused'):
            CheckpointLoader.load_checkpoint(str(tmp_path / 'forged.pth'))


@given(np_st.arrays(st.sampled_from(['?', 'u1', 'i2', 'i4', 'i8', 'f2', 'f4', 'f8']), np_st.array_shapes(min_dims=0)))
def test_plain_arrays_are_read(tmp_path_factory, value):
    """An array, each of its numbers, and a Fortran-ordered one come back with type, shape and values."""
    path = tmp_path_factory.getbasetemp() / 'array.pth'
    values = [value, np.asfortranarray(value), value.ravel()[:0], *value.ravel()[:3]]
    torch.save(values, path)
    for read, given_ in zip(torch.load(path, weights_only=True), values, strict=True):
        assert read.dtype == given_.dtype
        np.testing.assert_array_equal(read, given_)


def test_what_was_read_is_written_as_before(tmp_path):
    """A file that a resumed training saves needs neither this project nor its types."""
    log = HistoryBuffer([0.5, 2.0], [1, 3], max_length=4)
    content = dict(log=log, array=np.arange(3), number=np.float32(1.5))
    for name in ('first', 'second'):
        torch.save(content, tmp_path / name)
        content = copy.deepcopy(torch.load(tmp_path / name, weights_only=True))
    read = content['log']
    assert type(read) is HistoryBuffer
    assert {type(part) for part in read.data} == {np.ndarray}
    assert [read.statistics(name) for name in pickled.STATISTICS] == [0.5, 2.0, 2.0, 0.625]
    for value in (1.0, 3.0, 4.0):
        read.update(value)
    assert read.data[0].tolist() == [2.0, 1.0, 3.0, 4.0]  # max_length is kept
    names = [torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / name) for name in ('first', 'second')]
    assert sorted(names[0]) == sorted(names[1])


def test_a_history_keeps_its_own_numbers(tmp_path):
    """A file that names one array twice cannot change it afterwards."""
    numbers = np.ones(2)
    torch.save([history(_log_history=numbers), numbers], tmp_path / 'file.pth')
    log, same = torch.load(tmp_path / 'file.pth', weights_only=True)
    same[:] = 5
    assert log.data[0].tolist() == [1.0, 1.0]
