import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch import nn
from toy_runs import config, last_checkpoint, load_tool

import projects.crate  # noqa: F401  (registers)

EPOCHS, RAMP, EPOCH_LENGTH = 50, 20, 4
RATES = (0.5, 2.0)  # base learning rates of two parameter groups


def published_factor(epoch, epochs=EPOCHS, ramp=RAMP):
    """min((e + 1) / ramp, (1 + cos(pi e / E)) / 2), as in the released training script."""
    return min((epoch + 1) / ramp, (1 + math.cos(math.pi * epoch / epochs)) / 2)


def make_optimizer():
    return torch.optim.SGD([dict(params=[nn.Parameter(torch.zeros(1))], lr=rate) for rate in RATES], lr=1.0)


def make_scheduler(optimizer, **kwargs):
    cfg = dict(dict(type='RampedCosineLR', ramp=RAMP, end=EPOCHS, by_epoch=True), **kwargs)
    return PARAM_SCHEDULERS.build(cfg, default_args=dict(optimizer=optimizer, epoch_length=EPOCH_LENGTH))


def follow(optimizer, scheduler, steps):
    """The learning rates of ``steps`` steps from now on, before each of them."""
    rates = []
    for _ in range(steps):
        rates.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


def assert_rates(rates, factors):
    expected = [[rate * factor for rate in RATES] for factor in factors]
    torch.testing.assert_close(torch.tensor(rates), torch.tensor(expected))


def test_formula_by_epoch():
    optimizer = make_optimizer()
    rates = follow(optimizer, make_scheduler(optimizer), EPOCHS)
    assert_rates(rates, [published_factor(epoch) for epoch in range(EPOCHS)])
    # both branches are walked: the ramp first, the cosine in the end
    assert rates[0][0] == pytest.approx(RATES[0] / RAMP)
    assert rates[-1][0] < 0.001 * RATES[0]


def test_begin_and_end_bound_it():
    optimizer = make_optimizer()
    rates = follow(optimizer, make_scheduler(optimizer, begin=3, end=13, ramp=4), 15)
    before, after = [1.0] * 3, [published_factor(9, epochs=10, ramp=4)] * 2
    assert_rates(rates, before + [published_factor(step, epochs=10, ramp=4) for step in range(10)] + after)


def test_formula_by_iteration():
    optimizer = make_optimizer()
    scheduler = make_scheduler(optimizer, convert_to_iter_based=True)
    assert scheduler.by_epoch is False
    steps = EPOCHS * EPOCH_LENGTH
    rates = follow(optimizer, scheduler, steps)
    assert_rates(rates, [published_factor(step, steps, RAMP * EPOCH_LENGTH) for step in range(steps)])
    # on the ramp, the last iteration of an epoch has that epoch's rate
    for epoch in range(10):
        assert rates[(epoch + 1) * EPOCH_LENGTH - 1][0] == pytest.approx(RATES[0] * published_factor(epoch))


@pytest.mark.parametrize('done', [1, RAMP // 2, 35])
def test_state_dict_restores_the_middle(done):
    optimizer = make_optimizer()
    scheduler = make_scheduler(optimizer)
    follow(optimizer, scheduler, done)
    saved = optimizer.state_dict(), scheduler.state_dict()

    resumed = make_optimizer()
    resumed_scheduler = make_scheduler(resumed)
    resumed.load_state_dict(saved[0])
    resumed_scheduler.load_state_dict(saved[1])
    rates = follow(resumed, resumed_scheduler, EPOCHS - done)
    assert_rates(rates, [published_factor(epoch) for epoch in range(done, EPOCHS)])


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(ramp=0), 'ramp must be at least 1, not 0'),
        (dict(end=10**9), 'set `end`'),
        (dict(end=10**9, convert_to_iter_based=True), 'set `end`'),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_scheduler(make_optimizer(), **kwargs)


def test_iterations_are_not_converted_to_iterations():
    with pytest.raises(ValueError, match='by_epoch=True'):
        PARAM_SCHEDULERS.get('RampedCosineLR').build_iter_from_epoch(
            make_optimizer(), end=10, by_epoch=False, epoch_length=2
        )


def test_lion_is_there():
    """mmengine registers it where lion-pytorch is installed, which this project requires."""
    wrapper = build_optim_wrapper(nn.Linear(2, 2), dict(optimizer=dict(type='Lion', lr=1e-4, weight_decay=0.05)))
    assert type(wrapper.optimizer).__name__ == 'Lion'


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.net(torch.stack(inputs)).mean())


class Record(Hook):
    def __init__(self):
        self.rates = []

    def before_train_epoch(self, runner):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])


def run(work_dir, epochs, name, stop=None, resume=False):
    """Train ``Line`` for ``epochs`` epochs (leaving after ``stop`` of them); the learning rate of each epoch."""
    record = Record()
    runner = Runner(
        Line(),
        str(work_dir),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(1))] * 4,
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        param_scheduler=dict(type='RampedCosineLR', ramp=3, by_epoch=True),
        resume=resume,
        experiment_name=name,
        custom_hooks=[record],
    )
    if stop is not None:
        run_epoch = runner.train_loop.run_epoch

        def run_epoch_or_stop():
            run_epoch()
            runner.train_loop.stop_training = runner.epoch >= stop

        runner.train_loop.run_epoch = run_epoch_or_stop
    runner.train()
    return record.rates


def test_runner_gives_the_length_and_resumes(tmp_path):
    whole = run(tmp_path / 'whole', 6, 'whole')
    assert whole == pytest.approx([0.1 * published_factor(epoch, 6, 3) for epoch in range(6)])
    first = run(tmp_path / 'parts', 6, 'first', stop=2)
    rest = run(tmp_path / 'parts', 6, 'rest', resume=True)
    assert len(first) == 2
    assert first + rest == pytest.approx(whole)


@pytest.mark.parametrize('unit, loop', [('iters', 'IterBasedTrainLoop'), ('epochs', 'EpochBasedTrainLoop')])
def test_a_short_run_leaves_out_what_begins_after_it(tmp_path, capfd, unit, loop):
    """A trial of a config with a warm-up; mmengine says 'end should be larger than begin'."""
    by_epoch = unit == 'epochs'
    schedulers = [
        dict(type='LinearLR', start_factor=0.1, begin=0, end=5, by_epoch=by_epoch),
        dict(type='CosineAnnealingLR', begin=5, by_epoch=by_epoch),
    ]
    path = config(tmp_path, loop=dict(type=loop, **{f'max_{unit}': 20}), param_scheduler=schedulers)
    assert load_tool('train')([str(path), '--cfg-options', f'train_cfg.max_{unit}=2']) == 0
    text = capfd.readouterr()
    told = f'CosineAnnealingLR begins at 5, after the run: it is left out (train_cfg.max_{unit}=2)'
    assert (text.out + text.err).count(told) == 1
    assert len(last_checkpoint(tmp_path)['param_schedulers']) == 1
