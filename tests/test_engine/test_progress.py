import io
import logging
import os
import re
import signal
import sys

import pytest
import toy_runs
from mmengine.config import Config
from mmengine.runner import Runner

from projects.crate.engine.progress import ProgressBarHook, screen_handlers


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


class Screen(io.RawIOBase):
    """A screen; ``came`` is called once within a write, as a signal may come."""

    def __init__(self, came, number):
        self.came, self.number = came, number

    def writable(self):
        return True

    def fileno(self):
        return self.number

    def write(self, data):
        came, self.came = self.came, None
        if came:
            came()
        return len(data)


def test_a_signal_within_a_line_of_the_log_ends_the_process(monkeypatch, tmp_path):
    """The screen takes no second write then; logging would swallow the error, and the training would go on."""
    monkeypatch.setenv('FORCE_COLOR', '1')
    killed = []
    monkeypatch.setattr(os, 'kill', lambda *args: killed.append(args))
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    hook = ProgressBarHook()
    with (tmp_path / 'screen').open('wb') as file:
        screen = Screen(None, file.fileno())
        monkeypatch.setattr(sys, 'stderr', io.TextIOWrapper(io.BufferedWriter(screen), write_through=True))
        hook._progress.start()
        hook._progress.add_task('training')
        screen.came = lambda: hook._end(signal.SIGTERM, None)
        sys.stderr.write('a line\n')
        sys.stderr.flush()
        hook.close()
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert (tmp_path / 'screen').read_bytes() == b'\x1b[?25h'  # the cursor
