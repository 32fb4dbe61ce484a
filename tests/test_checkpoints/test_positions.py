"""Grids of position tables: 14 x 14 positions are as many as 7 x 28, but stand for other places."""

import copy
from collections import OrderedDict

import pytest
import torch
from mmengine.runner import save_checkpoint, weights_to_cpu
from mmengine.runner.checkpoint import get_state_dict
from tiny_models import ARCH
from torch import nn

from projects.crate.checkpoints import fill, load_pretrained, read_checkpoint, save_safetensors, weights_of
from projects.crate.models import CRATE
from projects.crate.models.patch_embed import resize_positions

# source, target: img_size at patch 4
GRIDS = [(56, (28, 112)), (32, (16, 64)), (32, (8, 128)), (24, (12, 48)), ((28, 112), 56), ((12, 16), (8, 24))]


class Model(nn.Module):
    def __init__(self, img_size, with_cls_token=True):
        super().__init__()
        options = {} if with_cls_token else dict(with_cls_token=False, out_type='featmap')
        self.backbone = CRATE(arch=ARCH, img_size=img_size, patch_size=4, **options)


def table(model):
    return model.backbone.pos_embed.detach()


def as_config(img_size):
    return f"model = dict(backbone=dict(type='CRATE', img_size={img_size}, patch_size=4))"


def plain(model, path, img_size):
    torch.save(model.state_dict(), path)


def by_mmengine(model, path, img_size):
    save_checkpoint(dict(meta={}, state_dict=weights_to_cpu(get_state_dict(model))), str(path))


def with_config(model, path, img_size):
    """An old training: no record beside the weights, but the config."""
    torch.save(dict(meta=dict(cfg=as_config(img_size)), state_dict=dict(model.state_dict())), path)


def by_converter(model, path, img_size):
    backbone = dict(type='CRATE', img_size=img_size, patch_size=4)
    torch.save(dict(meta=dict(backbone=backbone), state_dict=dict(model.state_dict())), path)


def published(model, path, img_size):
    save_safetensors(model.state_dict(), {}, path, torch.float32)


def published_with_config(model, path, img_size):
    save_safetensors(dict(model.state_dict()), dict(cfg=as_config(img_size)), path, torch.float32)


def wrapped(model, path, img_size):
    torch.save(dict(model=nn.ModuleDict(dict(module=model)).state_dict()), path)


def compiled(model, path, img_size):
    torch.save(nn.ModuleDict(dict(_orig_mod=model)).state_dict(), path)


WRITERS = [plain, by_mmengine, with_config, by_converter, published, published_with_config, wrapped, compiled]


@pytest.fixture
def write(tmp_path):
    def to_file(model, writer, img_size):
        path = tmp_path / f'weights.{"safetensors" if writer.__name__.startswith("published") else "pth"}'
        writer(model, path, img_size)
        return str(path)

    return to_file


def loaded(path, img_size, with_cls_token=True, directly=False):
    """Through the filler of the tools, or init_cfg."""
    model = Model(img_size, with_cls_token)
    if directly:
        load_pretrained(model.backbone, path, 'backbone', absent=['cls_token'])
    else:
        fill(model, weights_of(read_checkpoint(path), path))
    return table(model)


@pytest.mark.parametrize('directly', [False, True])
@pytest.mark.parametrize('writer', WRITERS)
@pytest.mark.parametrize(('source', 'target'), GRIDS)
def test_positions_are_interpolated_from_the_grid_they_have(write, writer, directly, source, target):
    model = Model(source)
    path = write(model, writer, source)
    assert torch.equal(loaded(path, source, directly=directly), table(model))
    expected = resize_positions(table(model), model.backbone.grid, Model(target).backbone.grid, 1)
    found = loaded(path, target, directly=directly)
    assert torch.equal(found, expected)
    assert found.shape != table(model).shape or not torch.equal(found, table(model))
    assert torch.equal(loaded(path, target, with_cls_token=False, directly=directly), expected[:, 1:])


def test_torch_alone_keeps_the_grid():
    for source, target in GRIDS:
        model, other = Model(source), Model(target)
        state = copy.deepcopy(model.state_dict())
        other.load_state_dict(state)
        expected = resize_positions(table(model), model.backbone.grid, other.backbone.grid, 1)
        assert torch.equal(table(other), expected)
        twin = Model(source)
        twin.load_state_dict(model.state_dict())
        assert torch.equal(table(twin), table(model))


def test_without_cls_token_on_both_sides(write):
    for source, target in GRIDS:
        model = Model(source, with_cls_token=False)
        path = write(model, plain, source)
        expected = resize_positions(table(model), model.backbone.grid, Model(target).backbone.grid, 0)
        assert torch.equal(loaded(path, target, with_cls_token=False), expected)
        assert torch.equal(loaded(path, source, with_cls_token=False), table(model))


def test_a_released_file_that_says_nothing_is_square(write, capsys):
    model = Model(56)
    path = write(model, lambda model, path, _: torch.save(dict(model.state_dict()), path), 56)
    for target in ((28, 112), (28, 56), 32):
        expected = resize_positions(table(model), (14, 14), Model(target).backbone.grid, 1)
        assert torch.equal(loaded(path, target), expected)
    assert capsys.readouterr().out.count('no grid of positions in the checkpoint, taken for (14, 14)') == 1


def test_an_unknown_grid_is_the_models_own_or_refused(write, capsys):
    model = Model((8, 24))
    path = write(model, lambda model, path, _: torch.save(dict(model.state_dict()), path), None)
    assert torch.equal(loaded(path, (8, 24)), table(model))
    assert 'no grid of positions in the checkpoint, taken for (2, 6)' in capsys.readouterr().out
    with pytest.raises(Exception, match=r'weights\.pth does not fit .*12 patch positions, which is not a square grid'):
        loaded(path, 32)


def test_a_recorded_grid_that_cannot_be_is_refused(write):
    model = Model(32)
    state = OrderedDict(model.state_dict())
    state._metadata = dict(backbone=dict(grid=(3, 3)))
    path = write(model, lambda model, path, _: torch.save(state, path), None)
    with pytest.raises(Exception, match=r'64 patch positions, but records the grid \(3, 3\)'):
        loaded(path, 32)
