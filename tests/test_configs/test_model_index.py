"""Models by name, and the configs in what gets installed."""

import importlib
import shutil
import subprocess
import sys
import sysconfig

import mmengine
import pytest
import torch
from config_rows import ROWS
from config_tree import ROOT, build_without_memory, load

from projects.crate import model_index

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
    expected = {f'{row.backbone}_{row.recipe.data}': f'classification/{row.path.name}' for row in rows}
    assert {entry['Name']: entry['Config'] for entry in INDEX['Models']} == expected


def test_index_says_the_published_parameters():
    found = {entry['Name']: entry['Metadata']['Parameters'] for entry in INDEX['Models']}
    for name, number in PUBLISHED.items():
        assert number in (found[name], round(found[name] / 1e6, 2)), name


def test_index_says_the_parameters():
    for entry in INDEX['Models']:
        model = build_without_memory(load(ROOT / 'configs' / entry['Config']))
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

    assert {entry['Name'] for entry in INDEX['Models']} <= set(list_models('crate*'))


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
    for folder in ('projects', 'configs'):
        shutil.copytree(ROOT / folder, source / folder, ignore=skip)
    for file in ('setup.py', 'pyproject.toml', 'README.md'):
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
    templates = {path.name for path in ROOT.glob('projects/crate/study/templates/*')}
    assert {path.name for path in (site / 'projects/crate/study/templates').iterdir()} == templates
    assert (site / 'projects/crate/py.typed').is_file()
    code = (
        'from mmpretrain import get_model; import torch; from projects.crate import model_index\n'
        'with torch.device("meta"): model = get_model("crate-small-p16_in1k")\n'
        'print(model_index.config_root(), model._config.filename, sep="\\n")'
    )
    printed = subprocess.run([python, '-c', code], cwd=tmp_path, text=True, capture_output=True, check=True).stdout
    assert all(line.startswith(str(site / 'projects/crate/configs')) for line in printed.splitlines()[-2:])
