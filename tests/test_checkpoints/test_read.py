"""The reader: every damage of a .pth file is seen, whatever the name of the file."""

import argparse
import io
import os
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.runner import CheckpointLoader
from torch import nn

from projects.crate.checkpoints import CheckpointError, read_checkpoint, read_weights, save_safetensors, weights_of
from projects.crate.checkpoints.read import read_all_files

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
