"""Weights that do not fit, through tools/test.py and tools/train.py: one line that names the file, and exit code 1."""

import json
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image
from toy_runs import SAMPLES, config, forget_runs, last_checkpoint, load, load_tool

from projects.crate.checkpoints import fill, read_weights

pytestmark = pytest.mark.usefixtures('fast_runner')

BACKBONE = dict(type='CRATE', arch=dict(embed_dims=8, num_layers=2, num_heads=2), img_size=8, patch_size=4)
VIT = dict(BACKBONE, attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6)


def run(tool, *arguments):
    forget_runs()
    return load_tool(tool)([str(argument) for argument in arguments])


def refused(capsys, tool, *arguments):
    """The line that a tool ends with."""
    capsys.readouterr()
    assert run(tool, *arguments) == 1
    error = capsys.readouterr().err
    (line,) = [line for line in error.splitlines() if line.startswith(f'{tool}: ')]
    assert 'Traceback' not in error
    return line


def toy(folder, model='ToyCRATE', **changes):
    """A config that can be trained and tested."""
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyDataset', log=str(folder / 'seen.txt')),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    parts = dict(test_cfg=dict(type='TestLoop'), test_dataloader=loader, test_evaluator=dict(type='ToyMetric'))
    return config(folder, model=dict(type=model), custom_hooks=[], **parts, **changes)


def weights_of(model='ToyCRATE'):
    torch.manual_seed(1)
    return OrderedDict(MODELS.build(dict(type=model)).state_dict())


def renamed(weights, rename):
    return {rename(name): value for name, value in weights.items()}


def without(weights, part):
    return {name: value for name, value in weights.items() if part not in name}


def as_vit(weights):
    vit = {f'net.backbone.{name}': value for name, value in MODELS.build(VIT).state_dict().items()}
    return {**without(weights, 'backbone'), **vit}


MISFITS = {
    'another prefix': (lambda w: renamed(w, lambda n: n.replace('net.backbone.', 'net.student.')), 'net.backbone.'),
    'no prefix': (lambda w: renamed(w, lambda n: n.removeprefix('net.backbone.')), 'lack the prefix .net.backbone'),
    'one prefix more': (lambda w: renamed(w, lambda n: f'student.{n}'), "prefix='student.'"),
    'another key': (lambda w: dict(net=w), "under the key 'net'"),
    'a layer less': (lambda w: without(w, 'layers.1.'), r'8 weights \(net.backbone.layers.1.ln1.weight, .*\) missing'),
    'one weight less': (lambda w: without(w, 'head.bias'), r'1 weights \(net.head.bias\) missing'),
    'another shape': (
        lambda w: {**w, 'net.head.weight': torch.zeros(3, 8)},
        r'1 weights of other shapes: net.head.weight \(\[3, 8\] instead of \[2, 8\]\)',
    ),
    'another width': (
        lambda w: {n: torch.cat([v, v]) for n, v in w.items()},
        r'\d+ weights of other shapes: net.backbone.\S+ .*, \.\.\.',
    ),
    'integers': (
        lambda w: {**w, 'net.head.weight': w['net.head.weight'].to(torch.int8)},
        r'1 weights \(net.head.weight\) of integers, such as torch.int8, in place of floats',
    ),
    'no weight': (lambda w: {}, 'holds no weights by name'),
    'no weights, but numbers': (lambda w: dict(epoch=3, state_dict=dict(a=1)), 'holds no weights by name, only a'),
    'a list': (lambda w: [*w.values()], 'holds no weights by name'),
    'the ViT': (as_vit, r'3 weights of other shapes: net.backbone.patch_embed.projection.weight'),
    'another model': (
        lambda w: torch.nn.Linear(2, 3).state_dict(),
        'the file has weight, bias; is it of the same arch',
    ),
}


@pytest.mark.parametrize('name', MISFITS)
def test_misfits_are_refused(tmp_path, capsys, name):
    change, message = MISFITS[name]
    path, file = toy(tmp_path), tmp_path / 'misfit.pth'
    torch.save(change(weights_of()), file)
    for tool, arguments in (('test', [file]), ('train', ['--cfg-options', f'load_from={file}'])):
        line = refused(capsys, tool, path, *arguments)
        assert str(file) in line
        assert re.search(message, line), line
    assert not Path(tmp_path, 'run', 'last_checkpoint').exists()


@pytest.mark.parametrize('address', ['http://127.0.0.1:1/a.pth', 'https://localhost:1/a.pth', 'torchvision://none'])
def test_an_address_without_a_file_is_one_line(tmp_path, capsys, address):
    for tool, arguments in (('test', [address]), ('train', ['--cfg-options', f'load_from={address}'])):
        assert f'cannot read the checkpoint {address}: ' in refused(capsys, tool, toy(tmp_path), *arguments)


WRAPPERS = {
    'plain': lambda w: w,
    'state_dict': lambda w: dict(state_dict=w, epoch=3),
    'model': lambda w: dict(model=w, optimizer={}),
    'teacher': lambda w: dict(student=renamed(w, lambda n: f'{n}x'), teacher=w),
    'module.': lambda w: renamed(w, lambda n: f'module.{n}'),
    '_orig_mod.': lambda w: renamed(w, lambda n: f'_orig_mod.{n}'),
    'module._orig_mod.': lambda w: dict(model=renamed(w, lambda n: f'module._orig_mod.{n}')),
    'inner _orig_mod.': lambda w: renamed(w, lambda n: n.replace('backbone.', 'backbone._orig_mod.')),
    'ema': lambda w: dict(ema_state_dict=dict(renamed(w, lambda n: f'module.{n}'), steps=torch.tensor(3))),
    'nested': lambda w: dict(model=dict(state_dict=w)),
    'more weights': lambda w: {**w, 'decoder.weight': torch.ones(3)},
}


def predictions(path, file, folder):
    assert run('test', path, file, '--out', folder / 'out.pkl') == 0
    return np.array([float(error) for error in pickle.loads((folder / 'out.pkl').read_bytes())])


@pytest.mark.parametrize('name', WRAPPERS)
def test_known_wrappers_are_taken_off_and_said(tmp_path, capsys, name):
    path, plain, wrapped = toy(tmp_path), tmp_path / 'plain.pth', tmp_path / 'wrapped.pth'
    torch.save(weights_of(), plain)
    torch.save(WRAPPERS[name](weights_of()), wrapped)
    expected = predictions(path, plain, tmp_path)
    capsys.readouterr()
    assert np.array_equal(predictions(path, wrapped, tmp_path), expected) and len(expected) == SAMPLES
    told = capsys.readouterr().out
    assert f'{len(weights_of())} weights loaded from {wrapped}' in told
    if name not in ('plain', 'state_dict', 'more weights'):
        assert f'weights of {wrapped}: ' in told
    assert ('1 others are not used' in told) == (name == 'more weights')
    assert run('train', path, '--no-validate', '--cfg-options', f'load_from={wrapped}', 'train_cfg.max_epochs=2') == 0


def test_nan_is_a_warning(tmp_path, capsys):
    path, file = toy(tmp_path), tmp_path / 'nan.pth'
    weights = weights_of()
    weights['net.backbone.ln1.bias'][2] = torch.nan
    torch.save(weights, file)
    assert run('test', path, file) == 0
    assert f'WARNING - {file} holds NaN or infinity, first in net.backbone.ln1.bias' in capsys.readouterr().out


def test_parts_that_the_user_names_may_stay_random(tmp_path, capsys):
    path, file = toy(tmp_path), tmp_path / 'weights.pth'
    weights = {**weights_of(), 'net.head.weight': torch.zeros(3, 8), 'net.head.bias': torch.zeros(3)}
    torch.save(weights, file)
    given = [path, '--no-validate', '--cfg-options', f'load_from={file}', 'train_cfg.max_epochs=2']
    line = refused(capsys, 'train', *given)
    assert line.endswith('to start these parts from random weights: load_from_except=net.head')
    given += ['optim_wrapper.optimizer.lr=0', 'optim_wrapper.optimizer.weight_decay=0']
    assert 'no weights under' in refused(capsys, 'train', *given, 'load_from_except=head')
    assert run('train', *given, 'load_from_except=net.head') == 0
    assert 'load_from_except: 2 weights (net.head.weight, net.head.bias) stay random' in capsys.readouterr().out
    trained = last_checkpoint(tmp_path)['state_dict']
    assert trained['net.head.weight'].shape == (2, 8) and trained['net.head.weight'].std() > 0
    for name, value in without(weights, 'head').items():
        assert torch.equal(trained[name], value), name
    torch.save(without(weights_of(), 'head'), file)  # missing in place of other shapes
    assert run('train', *given, 'load_from_except=net.head') == 0
    torch.save(without(weights_of(), 'backbone'), file)
    assert 'load_from_except=net.backbone' in refused(capsys, 'train', *given, 'load_from_except=net.head')
    # an evaluation leaves nothing random
    assert 'missing' in refused(capsys, 'test', path, file, '--cfg-options', 'load_from_except=net.backbone')


@pytest.mark.parametrize('hooks', [[], [dict(type='EMAHook', momentum=0.1)]])
def test_a_training_is_resumed_with_all_of_its_weights(tmp_path, capsys, hooks):
    path = toy(tmp_path)
    cfg = json.loads(path.read_text())
    path.write_text(json.dumps(dict(cfg, custom_hooks=hooks)))
    assert run('train', path, '--no-validate', '--cfg-options', 'train_cfg.max_epochs=2') == 0
    whole = last_checkpoint(tmp_path)
    file = tmp_path / 'changed.pth'
    changes = {
        'net.head.bias': without(whole['state_dict'], 'head.bias'),
        'net.decoder': {**whole['state_dict'], 'net.decoder': torch.ones(1)},
        'net.head.weight': {**whole['state_dict'], 'net.head.weight': torch.zeros(3, 8)},
    }
    for name, weights in changes.items():
        torch.save(dict(whole, state_dict=weights), file)
        assert name in refused(capsys, 'train', path, '--resume', file)
    if hooks:
        torch.save(dict(whole, ema_state_dict=without(whole['ema_state_dict'], 'head')), file)
        assert 'ema_state_dict does not fit' in refused(capsys, 'train', path, '--resume', file)
    assert run('train', path, '--no-validate', '--resume', '--cfg-options', 'train_cfg.max_epochs=3') == 0


def write_damaged(folder):
    """Files that are no checkpoints, or not whole."""
    torch.save(dict(meta={}, state_dict=weights_of(), optimizer={}, message_hub={}), folder / 'whole.pth')
    whole = (folder / 'whole.pth').read_bytes()
    image = folder / 'image.png'
    Image.new('RGB', (8, 8)).save(image)
    flipped = bytearray(whole)
    flipped[whole.index(weights_of()['net.head.weight'].numpy().tobytes()) + 5] ^= 1
    contents = {f'cut-{share}': whole[: int(len(whole) * share)] for share in (0, 0.01, 0.3, 0.7, 0.99)}
    contents |= dict(zeros=bytes(5000), text=b'hello\nworld', image=image.read_bytes(), flipped=bytes(flipped))
    contents['ones'] = b'\xff' * 5000
    for name, content in contents.items():
        for suffix in ('.pth', '.safetensors') if name in ('cut-0.3', 'text', 'zeros', 'cut-0') else ('.pth',):
            (folder / f'{name}{suffix}').write_bytes(content)
            yield folder / f'{name}{suffix}'
    (folder / 'folder.pth').mkdir()
    yield folder / 'folder.pth'


def test_damaged_files_are_named(tmp_path, capsys):
    path = toy(tmp_path)
    for file in write_damaged(tmp_path):
        for tool, arguments in (
            ('test', [file]),
            ('train', ['--cfg-options', f'load_from={file}']),
            ('train', ['--resume', file]),
        ):
            assert f'cannot read the checkpoint {file}: ' in refused(capsys, tool, path, *arguments)


@pytest.mark.parametrize('backbone', [BACKBONE, dict(type='mmpretrain.VisionTransformer', arch='deit-t', img_size=32)])
def test_a_damaged_file_of_init_cfg_is_named(tmp_path, capsys, backbone):
    file = tmp_path / 'cut.pth'
    file.write_bytes(b'PK\x03\x04 and no more')
    path = toy(tmp_path)
    cfg = json.loads(path.read_text())
    init_cfg = dict(type='Pretrained', checkpoint=str(file))
    head = dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=8)
    model = dict(type='mmpretrain.ImageClassifier', backbone=dict(backbone, init_cfg=init_cfg), head=head)
    path.write_text(json.dumps(dict(cfg, model=model, default_scope='mmpretrain')))
    assert f'cannot read the checkpoint {file}: ' in refused(capsys, 'train', path)


def test_a_file_of_the_backbone_alone_fills_a_detector_without_other_weights(tmp_path, capsys):
    file = tmp_path / 'backbone.pth'
    backbone = MODELS.build(BACKBONE)
    torch.save(backbone.state_dict(), file)
    detector = MODELS.build(dict(type='MaskCutDetector', backbone=BACKBONE))
    fill(detector, read_weights(str(file)))
    for name, value in backbone.state_dict().items():
        assert torch.equal(detector.backbone.state_dict()[name], value)
    told = capsys.readouterr().out
    assert f"weights of {file}: taken for those of 'backbone'" in told


def test_a_resumed_run_of_an_oblong_model_keeps_its_positions(tmp_path):
    """7 x 28 patches are as many as 14 x 14."""
    path = toy(tmp_path)
    cfg = json.loads(path.read_text())
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(BACKBONE, img_size=[28, 112]),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=8),
    )
    loader = dict(cfg['train_dataloader'], dataset=dict(type='LabelledImages'), batch_size=2)
    path.write_text(json.dumps(dict(cfg, model=model, train_dataloader=loader, default_scope='mmpretrain')))
    pytest.importorskip('mmpretrain')
    register_labelled_images()
    assert run('train', path, '--no-validate', '--cfg-options', 'train_cfg.max_epochs=2') == 0
    first = last_checkpoint(tmp_path)['state_dict']
    bare = load(Path(tmp_path, 'run', 'last_checkpoint').read_text())
    bare['state_dict'] = dict(bare['state_dict'])  # an old file: without the record beside the weights
    bare['meta']['cfg'] = 'text'
    torch.save(bare, tmp_path / 'old.pth')
    for resumed in (Path(tmp_path, 'run', 'last_checkpoint').read_text(), tmp_path / 'old.pth'):
        options = ['train_cfg.max_epochs=3', 'optim_wrapper.optimizer.lr=0', 'optim_wrapper.optimizer.weight_decay=0']
        assert run('train', path, '--no-validate', '--resume', resumed, '--cfg-options', *options) == 0
        second = last_checkpoint(tmp_path)['state_dict']
        assert first.keys() == second.keys()
        drift = max((first[name] - second[name]).abs().max() for name in first)
        assert drift < 0.2  # the learning rate of the checkpoint, not an interpolation (positions are N(0, 1))


def register_labelled_images():
    from mmengine.registry import DATASETS

    if 'LabelledImages' not in DATASETS:
        DATASETS.register_module(module=LabelledImages)


class LabelledImages(torch.utils.data.Dataset):
    """Noise of 28 x 112 pixels with labels."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        from mmpretrain.structures import DataSample

        generator = torch.Generator().manual_seed(index)
        return dict(
            inputs=torch.randn(3, 28, 112, generator=generator), data_samples=DataSample().set_gt_label(index % 3)
        )
