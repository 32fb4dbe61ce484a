import json

import numpy as np
import torch
from toy_runs import load_tool

from projects.crate.maskcut import ncut
from projects.crate.maskcut.affinity import AffinityGraph
from tools.bench import maskcut as module
from tools.bench.timing import interleaved_medians


def features(tmp_path, side=6):
    rng = np.random.default_rng(0)
    path = tmp_path / 'features.npz'
    np.savez(
        path,
        cat_feat=rng.standard_normal((3, side**2)),
        cat_mask=np.zeros(3),
        dog_feat=rng.standard_normal((3, side**2)),
    )
    return path


def test_alternatives_take_turns():
    calls = []
    seconds = interleaved_medians(dict(a=lambda: calls.append('a'), b=lambda: calls.append('b')), repeats=3)
    assert calls == list('ababab')
    assert seconds.keys() == {'a', 'b'}
    assert all(value >= 0 for value in seconds.values())


def test_all_solvers_find_the_same_vector(tmp_path):
    image = module.read_features(features(tmp_path))['cat']
    graph = AffinityGraph(image[None], module.TAU)
    expected = ncut(image) * graph.degree[0].sqrt()
    for y in (torch.from_numpy(module.arpack(graph)), module.lobpcg(graph)):
        assert abs(float(y @ expected)) > 1 - 1e-6


def test_the_command_prints_ratios_and_writes_them(tmp_path, capsys):
    output = tmp_path / 'out.json'
    threads = torch.get_num_threads()
    try:
        arguments = ['maskcut', '--repeats', '1', '--sides', '12', '--features', str(features(tmp_path))]
        assert load_tool('benchmark')([*arguments, '--json', str(output)]) == 0
    finally:
        torch.set_num_threads(threads)
    result = json.loads(output.read_text())
    assert [row['image'] for row in result['images']] == ['cat', 'dog']
    assert 0 < result['memory_mb']['12 x 12'] < 100
    text = capsys.readouterr().out
    ratios = [row['masks']['dense'] / row['masks']['ours'] for row in result['images']]
    assert f'masks: dense / ours, median over images: {np.median(ratios):.1f}' in text


def test_a_missing_file_is_named(tmp_path, capsys):
    assert load_tool('benchmark')(['maskcut', '--features', str(tmp_path / 'none.npz')]) == 1
    assert 'none.npz: no such file' in capsys.readouterr().err
