"""The cost of a config, by the real command."""

import re

import pytest
import toy_observer as toy
from toy_runs import load_tool, run_tool

TOOL = 'analysis_tools/get_flops'
# one image of 8 x 12: N = 7 tokens, d = 24, 2 layers of 3 N d d + 2 N N d; patches of 48 values; 2 classes
LAST = (7 + 2) * 24 * 24 + 2 * 7 * 24  # of [CLS] alone after U
BACKBONE = 6 * 48 * 24 + 2 * (3 * 7 * 24 * 24 + 2 * 7 * 7 * 24) + LAST
HEAD = 2 * 24


@pytest.fixture
def flops(monkeypatch):
    monkeypatch.setenv('COLUMNS', '120')
    return lambda *arguments: load_tool(TOOL)([str(argument) for argument in arguments])


def cells(text):
    """{module: the cells of its row}."""
    rows = [[cell.strip() for cell in re.split('[│┃]', line)[1:-1]] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def test_both_conventions_by_module(tmp_path, flops, capsys):
    path = toy.config(tmp_path)
    assert flops(path, '--size', 8, 12) == 0
    text = capsys.readouterr().out
    assert text.startswith(f'{path}: image of 8 x 12 (--size)\n')
    found = cells(text)
    assert found.keys() == {'module', 'backbone', 'head', 'total'}
    assert found['module'] == ['parameters', 'trainable', 'GMACs', 'GFLOPs', 'share']
    total = BACKBONE + HEAD
    weights = sum(weight.numel() for weight in toy.backbone().parameters())
    share = f'{BACKBONE / total:.1%}'
    numbers = [f'{BACKBONE / 1e9:.4g}', f'{2 * BACKBONE / 1e9:.4g}', share]
    assert found['backbone'] == [f'{weights:,}', f'{weights:,}', *numbers]
    assert found['total'][:2] == [f'{weights + 24 * 2 + 2:,}'] * 2
    assert found['total'][2:] == [f'{total / 1e9:.4g}', f'{2 * total / 1e9:.4g}', '100.0%']
    assert 'which OpenMMLab calls FLOPs' in text and 'of one image of 8 x 12' in text


def test_depth_and_options(tmp_path, flops, capsys):
    arguments = [toy.config(tmp_path), '--size', 8, 12, '--depth', 4]
    assert flops(*arguments) == 0
    found = cells(capsys.readouterr().out)
    assert float(found['backbone.layers.1.ffn'][2]) == pytest.approx(7 * 24 * 24 / 1e9, rel=1e-3)
    assert flops(*arguments, '--cfg-options', 'model.backbone.ffn_cfg.type=MLP') == 0
    found = cells(capsys.readouterr().out)
    assert float(found['backbone.layers.1.ffn'][2]) == pytest.approx(8 * 7 * 24 * 24 / 1e9, rel=1e-3)


def test_the_size_of_the_config(tmp_path, flops, capsys):
    pipeline = [dict(type='Resize', scale=(12, 8))]
    path = toy.config(tmp_path, test_dataloader=dict(dataset=dict(pipeline=pipeline)))
    assert flops(path) == 0
    text = capsys.readouterr().out
    assert text.startswith(f'{path}: image of 8 x 12 (Resize.scale of test_dataloader)\n')
    assert cells(text)['total'][2] == f'{(BACKBONE + HEAD) / 1e9:.4g}'


def test_mistakes_are_one_line(tmp_path, flops, capsys):
    assert flops(tmp_path / 'none.py') == 1
    assert capsys.readouterr().err == f'get_flops: config not found: {tmp_path}/none.py\n'
    path = toy.config(tmp_path)
    assert flops(path) == 1
    expected = f'get_flops: {path}: the config fixes no size of images; give one with --size H W\n'
    assert capsys.readouterr().err == expected
    assert flops(path, '--size', 8, 12, '--cfg-options', 'model.backbone.arch=huge') == 1
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1 and 'huge' in err
    with pytest.raises(SystemExit):
        flops(path, '--size', 0, 12)
    assert 'must be at least 1, not 0' in capsys.readouterr().err


def test_help_needs_no_library():
    help_text = run_tool(f'{TOOL}.py', '--help', PYTHONPROFILEIMPORTTIME='1')
    assert '--depth' in help_text.stdout
    assert 'argparse' in help_text.stderr and 'torch' not in help_text.stderr
