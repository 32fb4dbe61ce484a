"""tools/benchmark.py pseudo-labels: the stages are those of the tool, and add up to its run."""

import json
import time

import toy_maskcut
from toy_runs import load_tool

from projects.crate.datasets.image_list import list_images
from projects.crate.engine.launch import read_config
from tools.bench import pseudo_labels as module


def test_stages_are_parts_of_the_run(tmp_path):
    images, _, config, _, checkpoint = toy_maskcut.make_run(tmp_path / 'run')
    started = time.perf_counter()
    seconds = module.measure(read_config(str(config)), str(checkpoint), list_images(images, tmp_path))
    total = time.perf_counter() - started
    assert seconds.keys() == {module.START, *module.STAGES, 'other'}
    assert all(value > 0 for value in seconds.values()), seconds  # every function was called under its name
    assert sum(seconds.values()) < total


def test_the_report_divides_by_the_images():
    seconds = {module.START: 3.0, 'forward pass': 1.5, 'MaskCut': 0.5, 'other': 0.0}
    text = module.report(seconds, number=4)
    lines = [line.split() for line in text.splitlines()]
    assert ['forward', 'pass', '375.0', '75.0%'] in lines and ['all', '500.0'] in lines
    assert '2 images/s after 3.0 s of start' in text
    assert 'would take 7.41 days' in text  # 1,281,167 / 2 / 86400


def test_the_command(tmp_path, capsys):
    output = tmp_path / 'out.json'
    arguments = ['pseudo-labels', *toy_maskcut.make_run(tmp_path / 'run', number=5), '--json', output]
    assert load_tool('benchmark')([str(argument) for argument in arguments]) == 0
    result = json.loads(output.read_text())
    assert result['images'] == 5 and result['seconds']['eigenvectors'] > 0
    assert '5 images, one process, one thread' in capsys.readouterr().out
    assert not [*(tmp_path / 'run').glob('**/*.parts')]


def test_mistakes_are_one_line(tmp_path, capsys):
    arguments = ['pseudo-labels', tmp_path / 'none', *toy_maskcut.make_run(tmp_path / 'run')[1:]]
    assert load_tool('benchmark')([str(argument) for argument in arguments]) == 1
    assert capsys.readouterr().err.startswith(f'benchmark: images not found: {tmp_path}/none')
