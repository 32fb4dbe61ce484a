"""$CRATE_DATA may be any path: configs must not take it for source code."""

import warnings
from pathlib import Path

import pytest
from mmengine.config import Config
from toy_runs import ROOT

CONFIGS = [path for path in sorted((ROOT / 'configs').rglob('*.py')) if '__data__ =' in path.read_text()]
VALUES = ['it\'s "x"\\y', 'two words', '$HOME/{x}', 'a,b[(', "'+str(1/0)+'", 'line\nbreak', '/', '']


def folders(cfg):
    """Values of all keys that name data."""
    if isinstance(cfg, dict):
        for key, value in cfg.items():
            if key in ('data_root', 'ann_file') and isinstance(value, str):
                yield value
            yield from folders(value)
    elif isinstance(cfg, list | tuple):
        for each in cfg:
            yield from folders(each)


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return Config.fromfile(path, import_custom_modules=False)


@pytest.mark.parametrize('value', VALUES)
def test_a_value_survives_exactly(value, monkeypatch):
    path = ROOT / 'configs' / '_base_' / 'datasets' / 'coco_480.py'
    monkeypatch.setenv('CRATE_DATA', value)
    cfg = read(path)
    assert cfg.test_dataloader.dataset.data_root == f'{value}/coco'
    assert cfg.test_evaluator.ann_file == f'{value}/coco/annotations/instances_val2017.json'
    again = Config.fromstring(cfg.pretty_text, '.py')  # what a training writes into its folder
    assert again.test_dataloader.dataset.data_root == f'{value}/coco'


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_uses_it_as_a_value(path, monkeypatch):
    """A value that would end a string; nothing of the look-up stays in the config."""
    value = 'it\'s "x"'
    monkeypatch.setenv('CRATE_DATA', value)
    cfg = read(path)
    assert not [key for key in cfg if key.startswith('__') or key == 'os']
    assert any(Path(name).is_relative_to(value) for name in folders(cfg.to_dict()))


def test_no_environment_variable_is_pasted_into_source():
    assert not [path for path in (ROOT / 'configs').rglob('*.py') if '{{$' in path.read_text()]
