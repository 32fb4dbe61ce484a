import itertools

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader, IterableDataset
from toy_runs import SAMPLES, InterruptionError, ToyDataset, config, last_checkpoint, same, seen, train

from projects.crate.engine import launch
from projects.crate.engine.loops import BatchStream, skip_batches
from projects.crate.errors import UserError

EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=3)  # 15 iterations of 4 samples
ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=13)

pytestmark = pytest.mark.usefixtures('fast_runner')


def interrupted(folder, stops, **changes):
    """Train with an interruption before each iteration of ``stops``; the last runner, and what each part loaded."""
    parts = []
    for at in [*stops, None]:
        hooks = [*changes.get('custom_hooks', [dict(type='EMAHook', momentum=0.1)])]
        hooks += [] if at is None else [dict(type='StopHook', at=at)]
        path = config(folder, **{**changes, 'custom_hooks': hooks})
        before = len(seen(folder))
        try:
            runner = train(path, 'auto')
            assert at is None
        except InterruptionError:
            assert at is not None
        parts.append(seen(folder)[before:])
    return runner, parts


def assert_same_run(folder, other):
    """Weights, EMA, optimiser and schedules of two runs are equal bit for bit."""
    a, b = last_checkpoint(folder), last_checkpoint(other)
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert same(a[key], b[key]), key
    assert (a['meta']['iter'], a['meta']['epoch']) == (b['meta']['iter'], b['meta']['epoch'])


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    'loop, sampler', [(EPOCHS, 'DefaultSampler'), (ITERATIONS, 'InfiniteSampler'), (ITERATIONS, 'DefaultSampler')]
)
def test_interrupted_run_equals_undisturbed_run(tmp_path, loop, sampler, workers):
    loader = dict(
        batch_size=4,
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=dict(type=sampler, shuffle=True),
    )

    def changes(folder):
        dataset = dict(type='ToyDataset', log=str(folder / 'seen.txt'))
        return dict(loop=loop, train_dataloader=dict(loader, dataset=dataset))

    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    train(config(whole, **changes(whole)))
    # checkpoints after iterations 2, 4, ...; the stops leave one iteration to repeat, none, and the end of an epoch
    _, parts = interrupted(parted, [3, 4, 11], **changes(parted))
    assert_same_run(whole, parted)
    if workers == 0:
        order = seen(whole)
        assert parts == [
            order[:16],
            order[8:20],
            order[16:48],
            order[40:],
        ]  # a batch is loaded before its iteration begins


def test_epoch_checkpoints_and_their_validation(tmp_path):
    validation = dict(
        val_cfg=dict(),
        val_evaluator=dict(type='ToyMetric'),
        checkpoint=dict(type='CheckpointHook', save_best='error', rule='less'),
    )
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    for folder, run in (
        (whole, lambda p, **c: train(config(p, **c))),
        (parted, lambda p, **c: interrupted(p, [7], **c)),
    ):
        dataset = dict(type='ToyDataset', log=str(folder / 'val.txt'))
        loader = dict(batch_size=4, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
        run(folder, val_dataloader=loader, **validation)
    assert_same_run(whole, parted)
    best = [last_checkpoint(folder)['message_hub']['runtime_info']['best_score'] for folder in (whole, parted)]
    assert best[0] == best[1]
    assert len(list((parted / 'run').glob('best_*.pth'))) == 1


def test_end_of_an_epoch_inside_the_last_iteration_checkpoint(tmp_path):
    """The checkpoint after iteration 10 is saved before epoch 2 ends: the hooks of that end still run, once."""
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    checkpoint = dict(type='CheckpointHook', interval=10, by_epoch=False)
    schedule = [dict(type='MultiStepLR', milestones=[1, 2], gamma=0.5, by_epoch=True)]
    train(config(whole, checkpoint=checkpoint, param_scheduler=schedule))
    runner, parts = interrupted(parted, [11], checkpoint=checkpoint, param_scheduler=schedule)
    assert_same_run(whole, parted)
    assert runner.epoch == 3
    assert sorted(parts[1]) == sorted(range(SAMPLES))


def test_drawn_seed_is_kept(tmp_path):
    runner, parts = interrupted(tmp_path, [5], randomness=dict(seed=None))
    first_epoch = parts[0][:20]
    assert sorted(first_epoch) == list(range(SAMPLES))
    # checkpoint after iteration 4: the last batch of epoch 1 again, then epoch 2
    assert parts[1][:4] == first_epoch[16:]
    assert runner.seed == last_checkpoint(tmp_path)['meta']['seed']


def test_accumulated_gradients_are_kept(tmp_path):
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    wrapper = dict(
        type='OptimWrapper', accumulative_counts=4, clip_grad=dict(max_norm=0.1), optimizer=dict(type='SGD', lr=0.5)
    )
    train(config(whole, optim_wrapper=wrapper))
    interrupted(parted, [3, 7], optim_wrapper=wrapper)  # checkpoints after 2 and 6: two of four batches wait
    assert_same_run(whole, parted)


@pytest.mark.parametrize('stop', [2, 4])
def test_batch_sampler_of_mmdet(tmp_path, stop):
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'

    def changes(folder):
        return dict(
            default_scope='mmdet',
            train_dataloader=dict(
                batch_size=3,
                num_workers=0,
                dataset=dict(type='ToyDataset', log=str(folder / 'seen.txt')),
                sampler=dict(type='DefaultSampler', shuffle=True),
                batch_sampler=dict(type='AspectRatioBatchSampler'),
            ),
        )

    train(config(whole, **changes(whole)))
    _, parts = interrupted(parted, [stop], **changes(parted))
    assert_same_run(whole, parted)
    assert parts[1] == seen(whole)[3 * stop :]


def test_other_batch_size_goes_on_at_the_same_share(tmp_path):
    with pytest.raises(InterruptionError):
        train(config(tmp_path, custom_hooks=[dict(type='StopHook', at=8)]))
    before = len(seen(tmp_path))
    runner = train(config(tmp_path), 'auto', 'train_dataloader.batch_size=2')
    # epoch 2 had 3 of 5 batches of 4, which are 6 of 10 batches of 2; epoch 3 follows whole
    assert len(seen(tmp_path)) - before == 8 + SAMPLES
    assert (runner.epoch, runner.iter) == (3, 30)


def test_other_batch_size_by_iterations(tmp_path):
    loop = dict(type='IterBasedTrainLoop', max_iters=10)
    with pytest.raises(InterruptionError):
        train(config(tmp_path, loop=loop, sampler='InfiniteSampler', custom_hooks=[dict(type='StopHook', at=4)]))
    order, before = seen(tmp_path), len(seen(tmp_path))
    hooks = [dict(type='StopHook', at=6)]
    with pytest.raises(InterruptionError):
        path = config(tmp_path, loop=loop, sampler='InfiniteSampler', custom_hooks=hooks)
        train(path, 'auto', 'train_dataloader.batch_size=2')
    assert seen(tmp_path)[before : before + 4] == order[16:20]  # iteration 5 with the next two samples, and so on
    middle = seen(tmp_path)[before:]
    path = config(tmp_path, loop=loop, sampler='InfiniteSampler')
    train(path, 'auto', 'train_dataloader.batch_size=2')
    assert seen(tmp_path)[before + len(middle) :][:2] == middle[4:6]


def test_epochs_do_not_follow_iterations(tmp_path):
    """A training by iterations counts no epochs: all of them would be trained on top. The other way goes on."""
    iterations = dict(type='IterBasedTrainLoop', max_iters=8)
    plain = dict(param_scheduler=[dict(type='ConstantLR', factor=1.0, by_epoch=False)])
    train(config(tmp_path / 'iterations', iterations, **plain))
    checkpoint = tmp_path / 'iterations/run/iter_8.pth'
    with pytest.raises(UserError, match=r'iter_8\.pth: a training by epochs cannot continue from it'):
        train(config(tmp_path / 'epochs', **plain), str(checkpoint))
    train(config(tmp_path / 'first', dict(type='EpochBasedTrainLoop', max_epochs=1), **plain))
    runner = train(config(tmp_path / 'then', iterations, **plain), str(tmp_path / 'first/run/iter_5.pth'))
    assert runner.iter == 8


def test_stream_equals_the_loader_from_any_start(tmp_path):
    loader = DataLoader(ToyDataset(str(tmp_path / 'seen.txt')), batch_size=3)
    stream = BatchStream(loader)
    whole = [next(stream)['inputs'] for _ in range(20)]  # 7 batches per epoch
    for start in (1, 6, 7, 8, 15):
        part = BatchStream(loader, start)
        assert all(torch.equal(next(part)['inputs'], batch) for batch in whole[start:])


def test_past_epochs_are_not_walked_over(tmp_path):
    """A number from a file cannot make the walk last; the order of an epoch is that of its number."""
    data = ToyDataset(str(tmp_path / 'seen.txt'))
    loader = DataLoader(data, batch_size=3, sampler=DefaultSampler(data, seed=0))
    for start in (7 * 10**8, 7 * 10**8 + 2):
        part = BatchStream(loader, start)
        loader.sampler.set_epoch(10**8)
        whole = [batch['inputs'] for batch in loader]
        assert len(whole) == 7
        assert all(torch.equal(next(part)['inputs'], batch) for batch in whole[start % 7 :])
        assert loader.sampler.epoch == 10**8
        next(part)
        assert loader.sampler.epoch == 10**8 + 1


def test_iterable_dataset_is_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            return itertools.count()

    with pytest.raises(TypeError, match='Endless'):
        skip_batches(DataLoader(Endless()), 1)


def test_plain_runner_resumes_too(tmp_path):
    """The loops by name in a config, without the tools: any Runner resumes with them."""
    loop = dict(type='ResumableEpochBasedTrainLoop', max_epochs=2)
    checkpoint = dict(type='AtomicCheckpointHook', interval=3, by_epoch=False)
    path = config(tmp_path, loop=loop, checkpoint=checkpoint, custom_hooks=[dict(type='StopHook', at=4)])
    with pytest.raises(InterruptionError):
        Runner.from_cfg(launch.read_config(path)).train()
    before = len(seen(tmp_path))
    cfg = launch.read_config(config(tmp_path, loop=loop, checkpoint=checkpoint))
    cfg.resume = True
    Runner.from_cfg(cfg).train()
    assert len(seen(tmp_path)) - before == 7 * 4
