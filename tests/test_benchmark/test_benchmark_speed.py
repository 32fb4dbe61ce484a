"""tools/benchmark.py speed: what is compared is the same, and what is counted is what runs."""

import json

import pytest
import reference
import torch
from toy_runs import load_tool

from projects.crate.models import crate
from projects.crate.models.layers import ISTA, MSSA
from tools.bench import speed

SIZES = (24, 3, 2)  # d, K, L
D, LAYERS, N = 24, 2, 1 + 4 * 4
SMALL = ['speed', '--arch', 'toy', '--patch-size', '4', '--size', '16', '--batch-size', '2', '--repeats', '2']


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(crate.ARCHS, 'toy', (*SIZES, crate.CRATE_FAMILY))


def subject(**changes):
    return speed.Subject('toy', patch_size=4, size=16, batch_size=2, **changes)


def test_textbook_parts_are_the_released_formulas():
    x, attn, ffn = torch.randn(2, 5, D), MSSA(D, 3), ISTA(D)
    found = speed.TextbookMSSA(attn)(x)
    torch.testing.assert_close(found, reference.mssa(x, attn.qkv.weight, attn.proj.weight, attn.proj.bias, 3))
    torch.testing.assert_close(speed.TextbookISTA(ffn)(x), reference.ista(x, ffn.weight))


def test_alternatives_have_our_width_and_depth():
    models = subject().models()
    assert [*models][:3] == [speed.OURS, speed.TEXTBOOK, "mmpretrain's ViT"]
    vit = models["mmpretrain's ViT"]
    assert (vit.embed_dims, len(vit.layers), vit.layers[0].attn.num_heads) == (D, LAYERS, 3)
    assert vit.layers[0].ffn.feedforward_channels == 4 * D
    ours, textbook = (models[name].state_dict() for name in (speed.OURS, speed.TEXTBOOK))
    assert ours.keys() == textbook.keys()
    assert all(torch.equal(ours[name], textbook[name]) for name in ours)
    assert speed.difference(subject(), models) < 1e-5


def test_operations_are_those_that_run():
    """Embedding, then per layer U, O, attention and ISTA, the last of [CLS] alone after U; in evaluation H is known."""
    found = speed.measure(subject(), subject().models(), repeats=1)
    embedding, tokens, attention = 2 * 16 * 48 * D, 2 * N, 2 * 2 * N * N * D
    forward = {name: row['flops'] / 2 for name, row in found['forward'].items()}
    first, last = 3 * tokens * D * D + attention, (tokens + 2 * 2) * D * D + attention / N
    assert forward[speed.OURS] == embedding + first + last
    assert forward[speed.TEXTBOOK] == embedding + LAYERS * (5 * tokens * D * D + attention)
    assert forward["mmpretrain's ViT"] == embedding + LAYERS * (12 * tokens * D * D + attention)
    training = {name: row['flops'] / 2 for name, row in found['training'].items()}
    # in front of the embedding's product there is a norm; attention whose map was not kept has a gradient of 5 products
    backward = 2 * 3 * tokens * D * D + 2 * (tokens + 2 * 2) * D * D + (attention + attention / N) * 5 / 2
    matrix, steps = 2 * D**3, 3 * 2 * D * D  # formed for many tokens; for [CLS] alone there is a second step instead
    assert training[speed.OURS] == forward[speed.OURS] + 2 * embedding + backward + matrix + steps
    theirs = 2 * embedding + LAYERS * (2 * 5 * tokens * D * D + 2 * attention)
    assert training[speed.TEXTBOOK] == forward[speed.TEXTBOOK] + theirs


def test_memory_is_counted_in_both_passes():
    found = speed.measure(subject(), subject().models(), repeats=1)
    for kind in speed.PASSES:
        assert all(row['bytes'] > 0 for name, row in found[kind].items() if name != speed.CEILING)
    for name in (speed.OURS, speed.TEXTBOOK):
        assert found['training'][name]['bytes'] > found['forward'][name]['bytes']


def test_compiled_models_are_alternatives(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda model: compiled.append(model) or model)
    models = subject().models()
    found = speed.measure(subject(compiled=True), models, repeats=1, passes=['forward'])['forward']
    assert compiled == [*models.values()]
    for name in models:
        own, other = found[name], found[f'{name}, compiled']
        assert (own['flops'], own['bytes']) == (other['flops'], other['bytes'])
        assert own['seconds'] != other['seconds']


def test_the_report_compares_with_ours():
    rows = {
        speed.OURS: dict(seconds=0.5, flops=4e9, bytes=3e6),
        'other': dict(seconds=1.5, flops=8e9, bytes=5e6),
        speed.CEILING: dict(seconds=0.1, flops=1e9),
    }
    lines = [line.split() for line in speed.report(dict(forward=rows), batch_size=2).splitlines()]
    assert ['this', 'project', '4', '1.00', 'x', '2', '8', '80%', '3'] in lines
    assert ['other', '1.33', '3.00', 'x', '4', '5', '53%', '5'] in lines


@pytest.mark.parametrize('precision', [[], ['--bf16']])
def test_the_command_prints_tables_and_writes_numbers(tmp_path, capsys, precision):
    output = tmp_path / 'out.json'
    assert load_tool('benchmark')([*SMALL, *precision, '--json', str(output)]) == 0
    text, result = capsys.readouterr().out, json.loads(output.read_text())
    assert 'Forward and backward' in text and "mmpretrain's ViT" in text
    assert (result['arch'], result['batch_size'], result['bfloat16']) == ('toy', 2, bool(precision))
    assert result['passes']['forward'].keys() == result['passes']['training'].keys()
    assert result['difference'] < (0.2 if precision else 1e-5)


def test_an_unknown_arch_is_one_line(capsys):
    assert load_tool('benchmark')(['speed', '--arch', 'huge']) == 1
    error = capsys.readouterr().err
    assert error.startswith('benchmark: ') and 'huge' in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(('command', 'repeats'), dict(speed=7, maskcut=3, attention=15, memory=3).items())
def test_every_command_has_its_own_number_of_repeats(command, repeats):
    assert load_tool('benchmark').__globals__['parse_args']([command]).repeats == repeats
