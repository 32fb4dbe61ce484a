"""The reader: every damage of a .pth file is seen, whatever the name of the file."""

import argparse
import io
import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.runner import CheckpointLoader
from torch import nn

from projects.crate.checkpoints import (
    CheckpointError,
    load_pretrained,
    read_checkpoint,
    read_weights,
    save_safetensors,
    weights_of,
)
from projects.crate.checkpoints.read import load_from_file, read_all_files

WEIGHTS = OrderedDict((f'layer{i}.weight', torch.arange(300.0) + i) for i in range(4))


def saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


WHOLE = saved(dict(state_dict=WEIGHTS, meta=dict(epoch=3)))


def same(found):
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    return tmp_path_factory.mktemp('damage') / 'weights.pth'


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_as_it_was(file, data):
    """Bits flipped, blocks of zeros, and cuts, anywhere."""
    damaged = bytearray(WHOLE)
    start = data.draw(st.integers(0, len(WHOLE) - 1))
    kind = data.draw(st.sampled_from(['bit', 'zeros', 'cut']))
    if kind == 'bit':
        damaged[start] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == 'zeros':
        length = min(4096, len(WHOLE) - start)
        damaged[start : start + length] = bytes(length)
    else:
        del damaged[start:]
    file.write_bytes(damaged)
    try:
        content = read_checkpoint(str(file))
    except CheckpointError as error:
        assert str(error).startswith(f'cannot read the checkpoint {file}: ') and '\n' not in str(error)
    else:  # a byte that says nothing, such as padding
        assert same(content['state_dict']) and content['meta'] == dict(epoch=3)


STARTS = [b'', b'\x80\x02', b'PK\x03\x04', b'\x08' + bytes(7) + b'{']  # nothing, a pickle, a zip, safetensors


@settings(max_examples=100)
@given(content=st.binary(max_size=200), start=st.sampled_from(STARTS))
def test_garbage_is_one_line(file, content, start):
    file.write_bytes(start + content)
    with pytest.raises(CheckpointError) as caught:
        read_weights(str(file))
    assert str(file) in str(caught.value) and '\n' not in str(caught.value)


def test_a_pipe_keeps_nobody_waiting(tmp_path):
    for suffix in ('pth', 'safetensors'):
        os.mkfifo(tmp_path / f'pipe.{suffix}')
        with pytest.raises(CheckpointError, match=rf'cannot read .*pipe\.{suffix}: it is no regular file'):
            read_weights(str(tmp_path / f'pipe.{suffix}'))


def test_bits_of_every_weight_are_verified(file):
    """Also where the weights are read lazily."""
    for value in WEIGHTS.values():
        damaged = bytearray(WHOLE)
        damaged[WHOLE.index(value.numpy().tobytes()) + 600] ^= 16
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match='it is damaged, .*/data/. does not have its checksum'):
            read_checkpoint(str(file))


@pytest.mark.skipif(not hasattr(torch.serialization, 'set_crc32_options'), reason='torch < 2.6')
def test_a_file_without_checksums_is_read(file):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        file.write_bytes(saved(WEIGHTS))
    finally:
        torch.serialization.set_crc32_options(before)
    assert zipfile.ZipFile(file).testzip() is not None
    assert same(read_checkpoint(str(file)))


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.bin', '', '.safetensors'])
def test_the_suffix_does_not_matter(tmp_path, suffix):
    path = tmp_path / f'weights{suffix}'
    for write in (
        lambda: torch.save(WEIGHTS, path),
        lambda: torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False),
        lambda: save_safetensors(WEIGHTS, {}, path, torch.float32),
    ):
        if suffix == '.safetensors' and path.exists():
            path.unlink()
        write()
        if suffix == '.safetensors' and not zipfile.is_zipfile(path) and path.read_bytes()[8:9] != b'{':
            continue  # the format before torch 1.6 under a name of safetensors is nothing that anybody wrote
        assert same(read_weights(str(path)).tensors)


def test_mmengine_reads_with_it(file, monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    read_all_files()
    file.write_bytes(WHOLE)
    assert same(CheckpointLoader.load_checkpoint(str(file))['state_dict'])
    file.write_bytes(WHOLE[:-1])
    with pytest.raises(CheckpointError, match='its end is missing'):
        CheckpointLoader.load_checkpoint(str(file))
    with pytest.raises(CheckpointError, match='cannot read the checkpoint nothing://x'):
        read_checkpoint('nothing://x')


def test_what_torch_keeps_of_modules_is_found_under_the_new_names():
    model = nn.ModuleDict(dict(module=nn.ModuleDict(dict(norm=nn.BatchNorm1d(3)))))
    weights = weights_of(dict(model=model.state_dict(), args=argparse.Namespace(a=1)), 'a.pth')
    assert weights.tensors._metadata['norm'] == dict(version=2)
    assert weights.under('norm.').tensors._metadata[''] == dict(version=2)
    assert weights.below('a.').tensors._metadata['a.norm'] == dict(version=2)
    assert list(weights.under('norm.').tensors)[:2] == ['weight', 'bias']
    assert weights.under('nor.').tensors == {}


def test_wrappers_come_off_only_if_all_weights_have_them():
    mixed = {'module.a': torch.ones(1), 'b': torch.ones(1)}
    assert weights_of(mixed, 'a.pth').tensors.keys() == mixed.keys()
    inner = {'backbone.module.qkv': torch.ones(1), 'backbone.module.lora': torch.ones(1)}
    assert weights_of(inner, 'a.pth').tensors.keys() == inner.keys()


def test_entries_that_are_no_tensors_are_left_out():
    weights = weights_of({**WEIGHTS, 'epoch': 3}, 'a.pth')
    assert same(weights.tensors) and weights.left_out == ['epoch']


def test_parts_that_are_larger_than_the_file_are_refused(file):
    """A zip of 200 KB may hold 200 MB of zeros, or one part under many names."""
    whole = zipfile.ZipFile(io.BytesIO(WHOLE))
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as bomb:
        for part in whole.infolist():
            bomb.writestr(part.filename, whole.read(part))
    for read in (read_checkpoint, load_from_file):
        with pytest.raises(CheckpointError, match='compressed or overlap'):
            read(str(file))
    with zipfile.ZipFile(file, 'w') as overlapping:
        for part in whole.infolist():
            overlapping.writestr(part.filename, whole.read(part))
        largest = max(overlapping.infolist(), key=lambda part: part.file_size)
        overlapping.filelist += [largest] * 20
    with pytest.raises(CheckpointError, match='compressed or overlap'):
        read_checkpoint(str(file))


class State:
    """Pickles as an OrderedDict with attributes."""

    def __init__(self, content, attributes):
        self.content, self.attributes = content, attributes

    def __reduce__(self):
        return OrderedDict, (list(self.content.items()),), self.attributes


@pytest.mark.parametrize(
    'attributes',
    [
        *(dict.fromkeys([name], 5) for name in ('items', 'keys', 'values', 'get', '_metadata')),
        dict(_metadata={'': 5}),
        dict(_metadata={5: {}}),
        dict(_metadata={'': dict(grid='ab', version='x', assign_to_params_buffers=True)}),
        dict(_metadata={'': dict(grid=(-2, -2))}),
    ],
    ids=str,
)
def test_attributes_of_a_file_take_the_place_of_nothing(file, attributes):
    torch.save(State(dict(state_dict=State(WEIGHTS, attributes), meta=State({}, attributes)), attributes), file)
    weights = read_weights(str(file))
    assert same(weights.tensors)
    assert all(not entry for entry in weights.tensors._metadata.values())


def test_tensors_come_without_attributes_of_the_file(file):
    tensor = torch.ones(2)
    tensor.isfinite = tensor.is_floating_point = 5
    torch.save(dict(a=tensor), file)
    assert read_weights(str(file)).tensors['a'].isfinite().all()


@pytest.mark.filterwarnings('ignore')
def test_tensors_without_plain_numbers_are_left_out(file):
    odd = dict(
        sparse=torch.ones(2).to_sparse(),
        nested=torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        meta=torch.ones(3, device='meta'),
        quantised=torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    )
    torch.save({**WEIGHTS, **odd}, file)
    weights = read_weights(str(file))
    assert same(weights.tensors) and weights.left_out == [*odd]


def nested(depth, value=1):
    for _ in range(depth):
        value = dict(a=value)
    return value


def test_deep_and_endless_contents_are_refused(file):
    endless = {}
    endless['a'] = endless
    huge = [1] * 10
    for _ in range(40):
        huge = [huge] * 10  # a file of 3 KB
    for value in (nested(300), endless, huge):
        torch.save(dict(meta=dict(backbone=value), state_dict=WEIGHTS), file)
        with pytest.raises(CheckpointError, match='more than 100 dictionaries and lists in each other, or 10,000,000'):
            read_weights(str(file))
    torch.save(dict(meta=dict(backbone=nested(90)), state_dict=WEIGHTS), file)
    assert same(read_weights(str(file)).tensors)
    assert same(weights_of(dict(meta=dict(backbone=nested(3000)), state_dict=WEIGHTS), 'a.pth').tensors)


def test_a_size_to_allocate_is_refused(file):
    class Zeros:
        def __reduce__(self):
            return bytearray, (10**6,)

    torch.save(dict(state_dict=WEIGHTS, more=Zeros()), file)
    with pytest.raises(CheckpointError, match='refused: it asks for bytes of a size'):
        read_checkpoint(str(file))
    torch.save(dict(state_dict=WEIGHTS, more=bytearray(b'\x00\xff')), file)
    assert read_checkpoint(str(file))['more'] == b'\x00\xff'


class Called:
    """Pickles as the call of a function."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize('kind', ['Tensor', 'FloatTensor', 'ByteTensor', 'LongTensor'])
def test_a_tensor_of_a_size_alone_is_refused(file, kind):
    """Its numbers are what the memory held before, and three bytes ask for gigabytes."""
    torch.save({**WEIGHTS, 'more': Called(getattr(torch, kind), 100)}, file)
    for read in (read_checkpoint, load_from_file):
        with pytest.raises(CheckpointError, match='refused: it asks for a tensor of a size'):
            read(str(file))


@pytest.mark.parametrize('is_zip', [True, False])
def test_one_number_does_not_stand_for_a_large_tensor(file, is_zip):
    for rows in (1, 10**6):
        repeated = {**WEIGHTS, 'more': torch.ones(1).expand(rows, 10**6)}
        torch.save(dict(other=[repeated]), file, _use_new_zipfile_serialization=is_zip)
        if rows == 1:
            assert read_checkpoint(str(file))['other'][0]['more'].shape == (1, 10**6)
            continue
        with pytest.raises(CheckpointError, match='its tensors would take more than 10 times the size of the file'):
            read_checkpoint(str(file))


def test_two_weights_of_one_name_are_refused():
    content = {'a._orig_mod.weight': torch.ones(1), 'a.weight': torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r'a.pth: without _orig_mod\. two of its weights have one name'):
        weights_of(content, 'a.pth')


@pytest.mark.parametrize('name', [b'\xff', b'line\nbreak', b'\x1b[31m'])
def test_names_from_outside_are_one_printable_line(tmp_path, capsys, name):
    """Names of files, of weights and of a training; a log in UTF-8 takes no bytes that are not."""
    path = os.fsdecode(os.fsencode(tmp_path) + b'/' + name)
    model = nn.Linear(2, 1)
    told = []
    for change in (dict(), dict(weight=torch.full((1, 2), torch.nan))):
        torch.save(dict(model={**model.state_dict(), **change}), path)
        load_pretrained(model, path)
    odd = {**model.state_dict(), '\x1b[31m\ud800': torch.ones(1)}
    for content in (
        odd,
        dict(net=5),
        dict(state_dict={'\x1b\ud800\n': torch.ones(1)}, meta=dict(experiment_name='\n\x1b')),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError) as caught:
            load_pretrained(model, path)
        told.append(str(caught.value))
    for reason in ('no such file', 'damaged'):
        Path(path).unlink() if reason == 'no such file' else Path(path).write_bytes(b'damaged')
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        told.append(str(caught.value))
    assert all(line.isprintable() for line in told), told
    log = capsys.readouterr()
    assert 'Logging error' not in log.err
    assert all(line.removesuffix('\x1b[0m').isprintable() for line in log.out.splitlines()), log.out
