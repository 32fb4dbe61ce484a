"""Training processes that are killed, and resumed by the same command."""

import signal

import pytest
import torch
from toy_runs import SAMPLES, config, end_workers, last_checkpoint, load_tool, run_tool, seen


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
