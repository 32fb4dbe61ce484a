"""Training processes that are killed, and resumed by the same command."""

import os
import random
import shutil
import signal
import subprocess

import pytest
import torch
from forked_tools import FRESH_PYTHON
from toy_runs import ROOT, SAMPLES, config, end_workers, last_checkpoint, load_tool, run_tool, seen


def loader(folder, sampler, workers):
    return dict(
        batch_size=4,
        num_workers=workers,
        dataset=dict(type='ToyDataset', log=str(folder / 'seen.txt')),
        sampler=dict(type=sampler, shuffle=True),
    )


def command(folder, *hooks, **changes):
    """Train, or go on, in ``folder`` with more hooks; returns the exit code and what was loaded."""
    ema = dict(type='EMAHook', momentum=0.1)
    before = len(seen(folder))
    path = config(folder, custom_hooks=[ema, *hooks], **changes)
    result = run_tool('train.py', path, '--resume', check=False)
    assert result.returncode in (0, -signal.SIGKILL), result.stderr[-3000:]
    return result.returncode, seen(folder)[before:]


def assert_equal_runs(folder, other):
    for key in ('state_dict', 'ema_state_dict'):
        a, b = last_checkpoint(folder)[key], last_checkpoint(other)[key]
        assert all(torch.equal(a[name], b[name]) for name in b), key


@pytest.mark.parametrize(
    'loop, sampler, workers',
    [
        (dict(type='EpochBasedTrainLoop', max_epochs=3), 'DefaultSampler', 2),
        (dict(type='IterBasedTrainLoop', max_iters=14), 'InfiniteSampler', 0),
    ],
)
def test_killed_run_equals_undisturbed_run(tmp_path, loop, sampler, workers):
    """Killed before iteration 8, then with half of checkpoint 12 on the disk; every second iteration is saved."""
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    path = config(whole, loop=loop, train_dataloader=loader(whole, sampler, workers))
    assert load_tool('train')([str(path)]) == 0
    end_workers()
    settings = dict(loop=loop, train_dataloader=loader(parted, sampler, workers))
    assert command(parted, dict(type='StopHook', at=7, kill=True), **settings)[0] == -signal.SIGKILL
    assert last_checkpoint(parted)['meta']['iter'] == 6
    code, second = command(parted, dict(type='KillWhileSavingHook', at=12), **settings)
    assert code == -signal.SIGKILL
    assert last_checkpoint(parted)['meta']['iter'] == 10
    assert [path.name for path in (parted / 'run').glob('*.pth')] == ['iter_10.pth']
    code, third = command(parted, **settings)
    assert code == 0
    assert_equal_runs(whole, parted)
    if workers:  # in what order, and how far ahead, is up to the workers
        assert sorted(third) == sorted(range(SAMPLES))
    else:
        assert second == seen(whole)[4 * 6 : 4 * 12]
        assert third == seen(whole)[4 * 10 :]


def start(path):
    variables = dict(os.environ, PYTHONPATH=f'{ROOT}:{ROOT}/tests', OMP_NUM_THREADS='1')
    command = [FRESH_PYTHON, str(ROOT / 'tools' / 'train.py'), str(path), '--resume']
    return subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_thirty_random_kills(tmp_path):
    """SIGKILL at random times, also while the tool starts and saves; the weights are those of an undisturbed run."""
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    loop, pause = dict(type='EpochBasedTrainLoop', max_epochs=60), dict(type='PauseHook', seconds=0.02)
    hooks = [dict(type='EMAHook', momentum=0.1), pause]
    assert load_tool('train')([str(config(whole, loop=loop, custom_hooks=hooks))]) == 0
    path, rng, kills, seconds = config(parted, loop=loop, custom_hooks=hooks), random.Random(0), 0, 20.0
    while True:
        process = start(path)
        try:
            code = process.wait(rng.uniform(0, seconds) if kills < 30 else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            continue
        assert code == 0
        if kills >= 30:
            break
        shutil.rmtree(parted / 'run')  # done before all kills: once more from the start
    assert_equal_runs(whole, parted)
    assert len(list((parted / 'run').glob('*.pth'))) == 1 and not list((parted / 'run').glob('.*.part'))
