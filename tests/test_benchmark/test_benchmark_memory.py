import json
from functools import cache, partial
from itertools import accumulate

import pytest
import torch
from torch.autograd.profiler import profile
from toy_runs import load_tool

from projects.crate.models import crate
from tools.bench import memory
from tools.bench.memory import KERNELS, STEPS, LiveBytes, peak_memory

ARCH = dict(embed_dims=12, num_heads=3, num_layers=2)


@cache
def rows(sizes, windows, global_layers=()):
    found = memory.measure(ARCH, 4, sizes, windows, global_layers)
    return {(row['kernel'], row['size'], row['window']): row for row in found}


def grid():
    return rows((64, 128), (4, 8, None))


def test_live_bytes_by_hand():
    given = torch.zeros(100)
    with LiveBytes([given]) as live:
        a = given + 1  # 400 bytes
        b = a.view(10, 10)[1:]  # a view
        c = given[:50].double()  # 400 bytes; the view of what was there does not count
        assert (live.live, live.peak) == (800, 800)
        del a
        assert live.live == 800  # b keeps it
        del b
        assert live.live == 400
        c.add_(1)
        d = given + 2
        assert (live.live, live.peak) == (800, 800)
        given.add_(1)
    assert live.peak == 800 and c is not d


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('kind', STEPS)
def test_counted_bytes_are_what_the_allocator_gives(kernel, kind):
    """Without values as with them, and within a sixth of torch's own records, which see into operators."""
    model, image = memory.build(ARCH, 4, 3, (1,)), torch.zeros(1, 3, 48, 48)
    STEPS[kind](model, image)  # libraries allocate at their first use
    with KERNELS[kernel]():
        counted = peak_memory(STEPS[kind], model, image)
        with profile(profile_memory=True) as recorded:
            STEPS[kind](model, image)
    changes = [event for event in recorded.kineto_results.events() if event.name() == '[memory]']
    changes.sort(key=lambda event: event.start_ns())
    allocated = max(accumulate(event.nbytes() for event in changes))
    assert counted <= allocated <= counted * 7 / 6
    assert rows((48,), (3,), (1,))[kernel, 48, 3][kind] == counted


def test_memory_per_token_does_not_grow_with_the_image_in_windows_and_does_without():
    found = grid()

    def growth(kernel, window, kind):
        return found[kernel, 128, window][kind] / found[kernel, 64, window][kind]

    for kind in STEPS:
        assert growth('matrix', None, kind) > 10  # the square of the tokens: 16 where there is nothing else
        assert growth('matrix', 4, kind) < 4.2
        assert growth('fused', None, kind) < 4.2
    assert found['matrix', 128, None]['tokens'] == 1024


def test_memory_grows_with_the_window():
    training = [grid()['matrix', 128, window]['training'] for window in (4, 8, None)]
    assert training == sorted(training) and training[-1] > 5 * training[0]


def test_checkpointing_saves_memory():
    for kernel in KERNELS:
        row = grid()[kernel, 128, 4]
        assert row['forward'] < row['checkpointed'] < 0.9 * row['training']


def test_a_global_layer_among_windows_costs_its_matrix():
    mixed = rows((64,), (4,), (0,))['matrix', 64, 4]['training']
    assert grid()['matrix', 64, 4]['training'] < mixed < grid()['matrix', 64, None]['training']


def test_a_gpu_is_asked_for_its_peak(monkeypatch):
    image, seen = torch.zeros(1), []
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda device: seen.append('reset'))
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: 70)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device: 100)
    assert peak_memory(lambda model, image: seen.append('step'), torch.nn.Identity(), image) == 30
    assert seen == ['reset', 'step']


def test_the_command_prints_a_table_and_writes_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(crate.ARCHS, 'toy', (12, 3, 2, crate.CRATE_FAMILY))
    output = tmp_path / 'out.json'
    arguments = ['--arch', 'toy', '--patch-size', '4', '--sizes', '12', '--windows', '2', '--no-global-layers']
    assert load_tool('benchmark')(['memory', *arguments, '--repeats', '1', '--json', str(output)]) == 0
    result = json.loads(output.read_text())
    assert (result['arch'], result['patch_size']) == ('toy', 4)
    expected = [(12, kernel, window) for kernel in KERNELS for window in (2, None)]
    assert [(row['size'], row['kernel'], row['window']) for row in result['memory']] == expected
    assert result['memory'][0] == next(memory.measure('toy', 4, [12], [2], []))
    assert result['seconds'].keys() == {'2', 'global'} and min(result['seconds'].values()) > 0
    table = capsys.readouterr().out.splitlines()
    seconds = {None if window == 'global' else int(window): s for window, s in result['seconds'].items()}
    assert table[1:] == memory.report(result['memory'], seconds).splitlines()


def test_speed_is_against_global_attention():
    seconds = memory.measure_speed(ARCH, 4, 16, [2, None], repeats=1)
    assert seconds.keys() == {2, None}
    row = dict(size=16, tokens=16, kernel='fused', window=2, forward=1e6, training=2e6, checkpointed=1.5e6)
    text = memory.report([row], {2: 2.0, None: 5.0})
    assert text.endswith('(times as fast as global): 2 2 (2.50) | global 5 (1.00)')
    assert text.splitlines()[-3].split() == ['16', '16', 'fused', '2', '1', '2', '2', '125']


def test_mistakes_are_one_line(capsys):
    assert load_tool('benchmark')(['memory', '--arch', 'huge']) == 1
    err = capsys.readouterr().err
    assert err.startswith('benchmark: CRATE: arch must be one of') and len(err.splitlines()) == 1


def test_steps_leave_no_gradients():
    model = memory.build(ARCH, 4, None, None)
    for step in STEPS.values():
        partial(step, model)(torch.zeros(1, 3, 8, 8))
        assert all(weight.grad is None for weight in model.parameters())
