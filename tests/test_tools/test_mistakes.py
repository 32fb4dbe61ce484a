"""Every tool: a mistake is one line and exit code 1, a bug keeps its traceback, --debug shows it always."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import toy_observer as toy
import toy_runs
from mmengine.runner import Runner
from toy_report import make_data, save_training
from toy_runs import forget_runs, load_tool

from projects.crate.engine.launch import read_config
from projects.crate.errors import UserError
from projects.crate.models import CRATE

FIGURES, FLOPS = 'analysis_tools/figures', 'analysis_tools/get_flops'
CONVERT, PUBLISH = 'model_converters/crate_to_mm', 'model_converters/publish_model'
EMERGENCE = 'experiments/emergence'
SAMPLE = ['--images', 8, '--val-images', 8, '--layouts', 'imagenet', '--workers', 1]


@pytest.fixture(autouse=True)
def no_report_on_the_machine(monkeypatch):
    monkeypatch.setattr(Runner, '_log_env', lambda *_: None)  # it takes seconds


@pytest.fixture
def inputs(tmp_path):
    """Files that are right."""
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.pkl').mkdir()
    (tmp_path / 'wrong.py').write_text('model = dict(\n')
    (tmp_path / 'fails.py').write_text("model = nothing['x']\n")
    (tmp_path / 'base.py').write_text("_base_ = 'gone.py'\n")
    return dict(
        T=tmp_path,
        toy=toy_runs.config(tmp_path / 'toy'),
        config=toy.config(tmp_path),
        weights=toy.checkpoint(tmp_path / 'weights.pth'),
        trained=save_training(tmp_path / 'a' / 'epoch_3.pth'),
        images=toy.save_pictures(tmp_path / 'images'),
        voc=make_data(tmp_path / 'data', ['voc']),
    )


def call(tool, words, inputs):
    forget_runs()
    return load_tool(tool)([str(word).format(**inputs) for word in words])


def mistakes():
    """Tool, its arguments, and what the line names."""
    option = '--cfg-options'
    train, flops = ['{toy}', '--no-validate'], ['{config}', '--size', 8, 12]
    attention = ['attention', '{config}', '{weights}', '{images}']
    report = ['{trained}', '--data-root', '{voc}', '--size', 32, 48]
    maskcut = ['{images}', '{T}/o.json', '--config', '{config}', '--checkpoint', '{weights}']
    yield 'train', ['{T}/none.py'], 'config not found'
    yield 'train', ['{T}/wrong.py'], 'wrong.py: '
    yield 'train', ['{T}/fails.py'], "fails.py: name 'nothing' is not defined"
    yield 'train', ['{T}/base.py'], 'gone.py'
    yield 'train', ['{T}/file'], 'Only py/yml/yaml/json'
    yield 'train', [*train, option, 'model.type=Nothing'], 'toy.json: Nothing is not in the'
    yield 'train', [*train, option, 'model.nothing=1'], "unexpected keyword argument 'nothing'"
    yield 'train', [*train, option, 'optim_wrapper.optimizer.type=Adan'], 'toy.json: Adan is no optimiser: change'
    yield 'train', [*train, option, 'train_dataloader.nothing=1'], "unexpected keyword argument 'nothing'"
    yield 'train', [*train, option, 'default_hooks.logger.nothing=1'], "unexpected keyword argument 'nothing'"
    yield 'train', [*train, option, 'train_dataloader.sampler.type=Nothing'], 'Nothing is not in the'
    yield 'train', [*train, option, 'param_scheduler.9.end=1'], '--cfg-options param_scheduler.9.end=1: '
    yield 'train', [*train, option, 'model=[1,(2'], '--cfg-options model=[1,(2: Imbalanced brackets'
    start = 'model.net.init_cfg'
    line = 'toy.json: checkpoint not found: none.pth; another file: --cfg-options '
    yield 'train', [*train, option, f'{start}.type=Pretrained', f'{start}.checkpoint=none.pth'], line + start
    yield 'train', [*train, option, 'model.pretrained=none.pth'], f'{line}model.pretrained=FILE'
    yield 'test', ['{toy}', '{T}/none.pth'], 'no test_dataloader'
    test = ['{toy}', '{weights}']  # no test_dataloader: outputs are checked first
    yield 'test', [*test, '--show-dir', '{T}/file'], 'file: File exists; choose another folder (--show-dir)'
    yield 'test', [*test, '--show-dir', '/proc/none'], 'cannot write /proc/none: No such file or directory; choose'
    yield 'test', [*test, '--show-dir', '/proc'], 'cannot write /proc: '
    yield 'test', [*test, '--out', '/proc/o.pkl'], 'choose another folder (--out)'
    yield 'test', [*test, '--out', '{T}/folder.pkl'], 'folder.pkl is a folder: give the name of a file'
    yield 'maskcut', maskcut, 'no test_dataloader'
    yield 'maskcut', ['{images}', '{T}/file/o.json', *maskcut[2:]], 'the folder cannot be made: File exists'
    yield 'maskcut', ['{images}', '/proc/none/o.json', *maskcut[2:]], 'the folder cannot be made: No such file'
    yield 'merge_labels', ['{T}/none.json', '{T}/file', '{T}/o.json'], 'not found: '
    yield 'merge_labels', ['{T}/file', '{T}/file', '{T}/file/o.json'], 'the folder cannot be made'
    discover = ['{images}', '--config', '{config}', '--checkpoint', '{weights}', '--out']
    yield 'discover', ['{T}/file', *discover[1:], '{T}/o'], 'not a folder: '
    yield 'discover', [*discover, '{T}/file'], 'the folder cannot be made'
    yield 'report', ['{T}/none.pth', *report[1:], '--out', '{T}/o'], 'checkpoint not found'
    yield 'report', [*report, '--out', '{T}/file'], 'file: the folder cannot be made: File exists'
    yield 'report', [*report, '--out', '/proc/none'], '/proc/none: the folder cannot be made'
    yield 'app', ['{T}/none.pth'], 'checkpoint not found'
    yield 'app', ['--backbone', 'timm/none'], 'Unknown model'
    yield 'benchmark', ['speed', '--arch', 'huge'], 'arch must be one of'
    yield 'benchmark', ['attention', '--json', '{T}/file/o.json'], 'the folder cannot be made'
    yield 'benchmark', ['attention', '--configs', '{T}/none.py'], 'config not found'
    yield 'experiments/pack', ['{T}/file'], 'the folder cannot be made'
    yield 'make_sample_set', ['{T}/file', *SAMPLE], 'the folder cannot be made'
    yield 'make_sample_set', ['/proc', *SAMPLE], 'the folder cannot be made'
    yield 'make_sample_set', ['{T}/s', '--max-objects', 40, '--layouts', 'voc'], 'voc: max_objects: from 1 to 8'
    yield FIGURES, [*attention, '--layer', 9], 'no layer 9'
    yield FIGURES, [*attention, '--out', '{T}/file/o'], 'the folder cannot be made: Not a directory'
    yield FIGURES, [*attention, option, 'model.backbone.arch.x=1'], 'arch as a dict has the keys'
    yield FIGURES, ['epochs', '{config}', '{T}'], 'no epoch_*.pth'
    yield 'maskcut', [*maskcut, '--draw', '{T}/file'], 'file: the folder cannot be made'
    yield 'maskcut', [*maskcut[:2], '--backbone', 'none'], 'backbone none: no such folder, and none of dino-small'
    yield FLOPS, [*flops, option, 'model.backbone.type=Nothing'], 'Nothing is not in the'
    yield FLOPS, [*flops, option, 'model.backbone.nothing=1'], "unexpected keyword argument 'nothing'"
    yield CONVERT, ['{T}/none.pth', '{T}/o.pth'], 'none.pth'
    yield CONVERT, ['{weights}', '{T}/o.pth'], 'weights.pth: '
    yield PUBLISH, ['{T}/none.pth', '{T}/o.safetensors'], 'checkpoint not found'
    yield PUBLISH, ['{trained}', '{T}/file/o.safetensors'], 'the folder cannot be made'
    yield EMERGENCE, ['--budget', 'cpu', '--data-root', '{T}', '--out', '{T}/o'], 'tiny-imagenet-100'


@pytest.mark.parametrize(('tool', 'words', 'message'), mistakes())
def test_a_mistake_is_one_line(tool, words, message, inputs, capfd, monkeypatch):
    monkeypatch.chdir(toy_runs.ROOT)
    assert call(tool, words, inputs) == 1
    # the log of a run and progress stand there, too
    lines = [line for line in capfd.readouterr().err.splitlines() if not re.search('images/s|left out|measuring', line)]
    assert lines[-1].startswith(f'{Path(tool).name}: ') and message in lines[-1], lines
    assert len(lines) == 1


def test_debug_shows_the_traceback_of_a_mistake():
    figure = ['attention', 'none.py', 'none.pth', 'none']
    commands = [(FIGURES, ['--debug', *figure]), (FIGURES, [*figure, '--debug']), ('train', ['none.py', '--debug'])]
    for tool, words in commands:
        with pytest.raises(UserError, match='config not found: none.py'):
            call(tool, words, {})


ONE = ['--size', 32, 48, '--max-images', 1, '--num-workers', 0]
BUGS = [
    ('train', ['{toy}'], 'projects.crate.engine.launch.prepare_training'),
    ('train', ['{toy}'], 'toy_runs.ToyModel.__init__'),
    ('train', ['{toy}'], 'toy_runs.ToyModel.forward'),
    ('test', ['{toy}', '{weights}'], 'projects.crate.engine.launch.prepare_testing'),
    ('maskcut', ['{images}', '{T}/o', '--config', '{config}', '--checkpoint', 'k'], 'projects.crate.files.make_folder'),
    ('report', ['{trained}', '--data-root', '{voc}', '--out', '{T}/o'], 'projects.crate.study.measure.measure_model'),
    # The constructor is left out: a file's own config, which may be forged, gives its arguments.
    ('report', ['{trained}', '--data-root', '{voc}', '--out', '{T}/o', *ONE], 'projects.crate.models.CRATE.forward'),
    ('make_sample_set', ['{T}/s', *SAMPLE], 'projects.crate.sample_set.write.render_image'),
    ('benchmark', ['attention'], 'tools.bench.attention.measure'),
    (FIGURES, ['attention', '{config}', '{weights}', '{images}'], 'projects.crate.models.CRATE.__init__'),
    (FIGURES, ['attention', '{config}', '{weights}', '{images}'], 'projects.crate.models.CRATE.forward'),
    (FLOPS, ['{config}', '--size', 8, 12], 'projects.crate.models.CRATE.__init__'),
    (FLOPS, ['{config}', '--size', 8, 12], 'projects.crate.models.CRATE.forward'),
    (CONVERT, ['{weights}', '{T}/o.pth'], 'projects.crate.checkpoints.convert.convert'),
    (PUBLISH, ['{trained}', '{T}/o.safetensors'], 'projects.crate.checkpoints.save_safetensors'),
]  # fmt: skip
KINDS = [KeyError, ValueError, TypeError, IndexError, ImportError, FileNotFoundError, RuntimeError, AssertionError]


@pytest.mark.parametrize(('tool', 'words', 'target'), BUGS)
def test_a_bug_keeps_its_traceback(tool, words, target, inputs, monkeypatch, capfd):
    *owner, name = target.split('.')
    owner = (
        import_module('.'.join(owner))
        if owner[-1].islower()
        else getattr(import_module('.'.join(owner[:-1])), owner[-1])
    )
    for kind in KINDS[:2] if tool == 'report' else KINDS:  # it takes longest

        def broken(*_, kind=kind, **__):
            raise kind('mIoU')

        monkeypatch.setattr(owner, name, broken)
        with pytest.raises(kind, match='mIoU'):
            call(tool, words, inputs)
        assert f'{tool}: ' not in capfd.readouterr().err.replace(f'{tool}: measuring', '')


def test_only_missing_files_that_the_config_names_are_mistakes(inputs, monkeypatch, capfd):
    """The same error, from the constructor of a class of this project."""

    def opens(path):
        def init(self, *_, **__):
            with open(path):  # noqa: PTH123
                pass

        return init

    words = ['attention', '{config}', '{weights}', '{images}', '--cfg-options', 'model.backbone.init_cfg={T}/folder']
    monkeypatch.setattr(CRATE, '__init__', opens(inputs['T'] / 'folder' / 'x'))
    assert call(FIGURES, words, inputs) == 1
    assert f'not found: {inputs["T"]}/folder/x (is data_root right?' in capfd.readouterr().err
    monkeypatch.setattr(CRATE, '__init__', opens(inputs['T'] / 'folder2' / 'x'))
    with pytest.raises(FileNotFoundError):
        call(FIGURES, words, inputs)


def test_a_missing_image_of_a_worker_is_named(tmp_path, capfd):
    (tmp_path / 'list.txt').write_text('gone.png 0\n' * 4)
    pipeline = [dict(type='mmcv.LoadImageFromFile')]
    dataset = dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path), ann_file='list.txt', pipeline=pipeline)
    loader = dict(batch_size=1, num_workers=1, dataset=dataset, sampler=dict(type='DefaultSampler'))
    path = toy_runs.config(tmp_path, train_dataloader=loader)
    assert call('train', [path], {}) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith('train: ')]
    assert f'{path}: not found: {tmp_path}/gone.png (is data_root right?' in line


def test_a_full_disk_is_one_line(inputs, monkeypatch, capfd):
    def full(*_, **__):
        with open('/dev/full', 'w') as file:  # noqa: PTH123
            file.write('x')

    monkeypatch.setattr(np, 'savez_compressed', full)
    assert call(FIGURES, ['sparse-rate', '{config}', '{weights}', '{images}', '--out', '{T}/o'], inputs) == 1
    assert capfd.readouterr().err.splitlines()[-1] == 'figures: No space left on device: /dev/full'


def test_an_unusable_environment_is_one_line(tmp_path):
    """It names the package; nothing else is printed, and --help works."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text("raise ImportError('not for this torch')")
    tools = ['train none.py', f'{CONVERT} a.pth b.pth']
    for tool, *words in map(str.split, tools):
        command = [sys.executable, toy_runs.ROOT / 'tools' / f'{tool}.py']
        options = dict(env=dict(os.environ, PYTHONPATH=str(tmp_path)), capture_output=True, text=True)
        result = subprocess.run([*command, *words], **options)
        assert result.returncode == 1, tool
        (line,) = result.stderr.splitlines()
        assert line.startswith(f'{Path(tool).name}: projects.crate cannot be imported here: '), line
        assert subprocess.run([*command, '--help'], **options).returncode == 0


def test_options_keep_paths(tmp_path):
    path = toy_runs.config(tmp_path)
    for name in ('two words', 'a,b', '[a]', '(a', "it's", "'a'", 'a=b'):
        folder = tmp_path / name
        folder.mkdir()
        assert read_config(str(path), [f'train_dataloader.dataset.log={folder}']).train_dataloader.dataset.log == str(
            folder
        )
    for text, value in {
        '1': 1,
        '1e-3': 1e-3,
        '[1,2]': [1, 2],
        '(a,b)': ('a', 'b'),
        'None': None,
        '"x"': 'x',
        'True': True,
    }.items():
        assert read_config(str(path), [f'model.norm={text}']).model.norm == value


def test_names_that_are_no_text_can_be_drawn_and_written(inputs, capfd):
    """Bytes that are no UTF-8, and dollars, which matplotlib takes for formulas."""
    folder, out = inputs['images'], inputs['T'] / os.fsdecode(b'o\xff')
    for old, new in {'0.png': b'a\xe9.png', '1.png': b'$\\frac$.png', '2.png': b'b\n.png'}.items():
        (folder / old).rename(folder / os.fsdecode(new))
    for name, *options in (['attention'], ['attention', '--per-image'], ['pca', '--threshold', 0], ['sparse-rate']):
        words = [name, '{config}', '{weights}', '{images}', '--out', out, *options]
        assert call(FIGURES, words, inputs) == 0
    with np.load(out / 'pca_layer2.npz') as found:
        names = {os.fsencode(Path(name).name) for name in found['names'].tolist()}
    assert names == {b'a\xe9.png', b'$\\frac$.png', b'b\n.png'}
    report = ['{trained}', '--data-root', '{voc}', '--out', out, '--size', 32, 48, '--max-images', 2]
    assert call('report', [*report, '--names', os.fsdecode(b'm\xff$x$'), '--num-workers', 0], inputs) == 0
    assert 'm\\udcff$x$' in (out / 'index.html').read_text(encoding='utf-8')
    printed = capfd.readouterr().out
    assert str(out).encode('utf-8', 'surrogateescape') in printed.encode('utf-8', 'surrogateescape')
