import json

import pytest
import torch
import toy_observer as toy
from toy_runs import load_tool

from projects.crate.models import observe
from tools.bench import attention


@pytest.mark.parametrize('kind', ['CRATE', 'ViT'])
def test_what_is_timed_gives_the_maps(kind):
    model, images = toy.backbone(kind), torch.randn(2, 3, 8, 12)
    model.eval()
    with torch.no_grad():
        found = attention.maps(model, images, range(3))
        with observe(model, [0, 1, 2]) as seen:
            model(images)
    assert len(found) == 3
    for layer, maps in enumerate(found):
        torch.testing.assert_close(maps, seen[layer].cls_attention())


def test_a_model_in_training_stays_there():
    model, passes = toy.backbone(), []
    model.register_forward_hook(lambda module, arguments, _: passes.append((module.training, arguments[0].shape)))
    seconds = attention.measure(model, (8, 12), batch_size=2, repeats=3)
    assert passes == 9 * [(False, (2, 3, 8, 12))]
    assert seconds.keys() == {'forward', 'one layer', 'all layers'} and min(seconds.values()) > 0
    assert model.training and not model.layers[0].training


def test_the_report_says_what_reading_adds():
    text = attention.report(dict(crate={'forward': 2.0, 'one layer': 2.02, 'all layers': 1.9}))
    assert text.splitlines()[1] == 'crate: forward 2 | one layer 2.02 (+1.0%) | all layers 1.9 (-5.0%)'


def test_the_command_prints_the_machine_and_writes_numbers(tmp_path, capsys):
    config, output = toy.config(tmp_path), tmp_path / 'out.json'
    arguments = ['attention', '--configs', str(config), '--size', '8', '12', '--repeats', '2', '--json', str(output)]
    assert load_tool('benchmark')(arguments) == 0
    result = json.loads(output.read_text())
    assert (result['size'], result['batch_size'], result['threads']) == ([8, 12], 1, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f', torch {torch.__version__}, 1 threads, 2 repeats') and lines[0][0] not in ', '
    assert lines[1:] == attention.report(result['seconds']).splitlines()


def test_a_missing_config_is_named(tmp_path, capsys):
    assert load_tool('benchmark')(['attention', '--configs', str(tmp_path / 'none.py')]) == 1
    assert capsys.readouterr().err == f'benchmark: config not found: {tmp_path}/none.py\n'
