"""Models by name, and the configs in what gets installed."""

import importlib
import shutil
import subprocess
import sys
import sysconfig

import mmengine
import numpy as np
import pytest
import torch
from config_rows import ROWS
from config_tree import ROOT, build_without_memory, load
from modelindex.load_model_index import load as load_model_index

from projects.crate import model_index
from projects.crate.checkpoints.read import read_weights

INDEX = mmengine.load(ROOT / 'configs/classification/metafile.yml')


# name -> parameters with the head, as published; the last in millions
PUBLISHED = {
    'crate-tiny-p16_in1k': 6_090_856,
    'crate-small-p16_in1k': 13_116_328,
    'crate-base-p16_in1k': 22_796_008,
    'crate-large-p16_in1k': 77_641_192,
    'crate-emergence-small-p8_in21k': 14_118_482,
    'crate-emergence-base-p8_in21k': 38_831_570,
    'crate-alpha-base-p16_in1k': 72_328_936,
    'crate-alpha-large-p14_in1k': 253_650_920,
    'crate-emergence-tiny-p8_in21k': 5.74,
}


def in_index(row):
    """Not: other networks, probes, other engines for the same model, models of no paper."""
    of_paper = row.backbone.startswith('crate-') and not row.backbone.startswith('crate-w')
    return of_paper and not {'linear', 'fsdp'} & {*row.recipe.schedule.split('-')}


def test_every_paper_config_has_a_name():
    rows = [row for row in ROWS if row.recipe.prefix == 'classification/' and in_index(row)]
    expected = {f'{row.backbone}_{row.recipe.data}': f'configs/classification/{row.path.name}' for row in rows}
    assert {entry['Name']: entry['Config'] for entry in INDEX['Models'] if 'Weights' not in entry} == expected


def test_root_index_has_every_config_of_the_other_folders():
    index = load_model_index(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    named = {model.config for model in index.models}
    folders = ('detection', 'discovery', 'maskcut', 'segmentation')
    files = {str(path.relative_to(ROOT)) for folder in folders for path in ROOT.glob(f'configs/{folder}/*.py')}
    assert files == {config for config in named if not config.startswith('configs/classification/')}
    assert all((ROOT / config).is_file() for config in named)
    collections = {collection.name for collection in index.collections}
    assert {model.in_collection for model in index.models} <= collections


def test_only_a_model_with_weights_has_metrics():
    index = load_model_index(str(ROOT / 'model-index.yml'))
    for model in index.models:
        (result,) = model.results
        assert result.task and bool(result.metrics) == bool(model.weights), model.name


@pytest.mark.parametrize('name', [entry['Name'] for entry in INDEX['Models'] if 'Weights' in entry])
def test_pretrained_model_by_name(name, monkeypatch, tmp_path):
    """From any folder; the weights are those of the file, and the library finds its inferencer."""
    from mmpretrain import get_model, inference_model

    monkeypatch.chdir(tmp_path)
    model = get_model(name, pretrained=True)
    file = next(ROOT.glob(f'docs/experiments/weights/{name}.safetensors'))
    for key, value in read_weights(str(file)).tensors.items():
        assert torch.equal(model.state_dict()[key], value.float()), key
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    result = inference_model(model, image)
    assert result['pred_scores'].shape == (100,) and result['pred_scores'].sum() == pytest.approx(1, abs=1e-4)


def test_model_of_imagenet21k_without_weights_has_an_inferencer():
    """Its training has no validation set."""
    from mmpretrain import get_model, inference_model

    model = get_model('crate-emergence-tiny-p8_in21k')
    result = inference_model(model, np.zeros((40, 30, 3), dtype=np.uint8))
    assert result['pred_scores'].shape == (21842,)


def test_index_says_the_published_parameters():
    found = {entry['Name']: entry['Metadata']['Parameters'] for entry in INDEX['Models']}
    for name, number in PUBLISHED.items():
        assert number in (found[name], round(found[name] / 1e6, 2)), name


def test_index_says_the_parameters():
    for entry in INDEX['Models']:
        model = build_without_memory(load(ROOT / entry['Config']))
        assert sum(parameter.numel() for parameter in model.parameters()) == entry['Metadata']['Parameters'], entry
        assert entry['In Collection'] in [collection['Name'] for collection in INDEX['Collections']]


@pytest.mark.parametrize(
    ('name', 'classes', 'layers'),
    [
        ('crate-tiny-p16_in1k', 1000, 12),
        ('crate-emergence-small-p8_in21k', 21842, 12),
        ('crate-alpha-base-p16_in1k', 1000, 12),
        ('crate-alpha-large-p14_in21k', 19167, 24),
        ('crate-emergence-tiny-p8_pets', 37, 12),
    ],
)
def test_get_model(name, classes, layers):
    from mmpretrain import get_model

    with torch.device('meta'):
        model = get_model(name, pretrained=False, backbone=dict(out_type='featmap'))
    assert (model.head.num_classes, len(model.backbone.layers)) == (classes, layers)
    assert model.backbone.out_type == 'featmap'
    assert model.data_preprocessor.mean.shape == (3, 1, 1)


def test_list_models():
    from mmpretrain import list_models

    names = {entry['Name'] for entry in INDEX['Models']}
    assert names <= {*list_models('crate*', task='Image Classification'), *list_models('vit-w192*')}


def test_registering_again_changes_nothing():
    model_index.register_models()
    importlib.reload(model_index).register_models()


def test_without_mmpretrain_nothing_is_registered(monkeypatch):
    monkeypatch.setattr(model_index, 'installed_libraries', lambda: ['mmdet'])
    monkeypatch.setattr(mmengine, 'load', lambda path: pytest.fail('the index was read'))
    model_index.register_models()


def test_copy_of_the_package_alone(monkeypatch, tmp_path):
    """Without configs there are no names, and the import still works."""
    monkeypatch.setattr(model_index, '__file__', str(tmp_path / 'projects/crate/model_index.py'))
    assert model_index.config_root() is None
    model_index.register_models()


def run(*command, cwd, **kwargs):
    result = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, text=True, capture_output=True, **kwargs)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_wheel_from_source_distribution_runs_in_an_empty_environment(tmp_path):
    source = tmp_path / 'source'
    skip = shutil.ignore_patterns('__pycache__')
    for folder in ('projects', 'configs', 'docs/experiments/weights'):
        shutil.copytree(ROOT / folder, source / folder, ignore=skip)
    for file in ('setup.py', 'pyproject.toml', 'README.md', 'model-index.yml'):
        shutil.copy(ROOT / file, source)
    run('setup.py', '--quiet', 'sdist', '--dist-dir', tmp_path, cwd=source)
    shutil.unpack_archive(next(tmp_path.glob('*.tar.gz')), tmp_path / 'unpacked')
    unpacked = next((tmp_path / 'unpacked').iterdir())
    pip = ('-m', 'pip', '--quiet')
    offline = ('--no-deps', '--no-index')
    run(*pip, 'wheel', *offline, '--no-build-isolation', '--wheel-dir', tmp_path, '.', cwd=unpacked)
    empty = tmp_path / 'empty'
    run('-m', 'venv', '--without-pip', empty, cwd=tmp_path)
    python = empty / 'bin' / 'python'
    run(*pip, '--python', python, 'install', *offline, next(tmp_path.glob('*.whl')), cwd=tmp_path)
    site = next(empty.glob('lib/python*/site-packages'))
    # the requirements, as installed here; a line in a .pth file does not bring this repository, as another .pth would
    (site / 'requirements.pth').write_text(sysconfig.get_path('purelib'))

    assert not (site / 'configs').exists()  # a name that others may take
    shipped = {str(path.relative_to(site / 'projects/crate')) for path in site.rglob('projects/crate/configs/**/*.*')}
    ours = {str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/*.*') if path.suffix in ('.py', '.yml')}
    assert {path for path in shipped if not path.endswith('.pyc')} == ours
    index = load_model_index(str(site / 'projects/model-index.yml'))  # where `mim search` looks
    index.build_models_with_collections()
    assert len(index.models) > 100
    templates = {path.name for path in ROOT.glob('projects/crate/study/templates/*')}
    assert {path.name for path in (site / 'projects/crate/study/templates').iterdir()} == templates
    assert (site / 'projects/crate/py.typed').is_file()
    code = (
        'from projects.crate import model_index; from mmpretrain import get_model\n'
        'model = get_model("crate-w192d5-p4_tinyimagenet100", pretrained=True)\n'
        'print(model_index.config_root(), model._config.filename, sep="\\n")'
    )
    printed = subprocess.run([python, '-c', code], cwd=tmp_path, text=True, capture_output=True, check=True).stdout
    assert all(line.startswith(str(site / 'projects/crate/configs')) for line in printed.splitlines()[-2:])
