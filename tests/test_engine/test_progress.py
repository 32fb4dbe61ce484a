import logging
import re

import pytest
import toy_runs
from mmengine.config import Config
from mmengine.runner import Runner

from projects.crate.engine.progress import screen_handlers


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A run of 15 iterations with three evaluations, on what rich takes for a terminal."""
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '200')
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=dict(type='ToyDataset', log=str(tmp_path / 'val.txt')),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    validation = dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=dict(type='ToyMetric'))
    path = toy_runs.config(tmp_path, custom_hooks=[dict(type='ProgressBarHook')], **validation)
    return Runner.from_cfg(Config.fromfile(path))


def test_bars_reach_their_end_and_the_log_is_whole(runner, capsys):
    runner.train()
    screen = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', capsys.readouterr().err)
    assert re.search(r'training .* 15/15', screen) and re.search(r'validation .*/5', screen)
    assert screen.count('Epoch(train)') == 15 and screen.count('Epoch(val)') >= 3


def test_the_screen_is_given_back(runner, capsys):
    before = [handler.stream for handler in screen_handlers(runner.logger)]
    runner.train()
    after = screen_handlers(runner.logger)
    assert [handler.stream for handler in after] == before
    assert not any(isinstance(handler, logging.FileHandler) for handler in after)
