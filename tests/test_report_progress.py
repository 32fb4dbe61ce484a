import functools
import re

import pytest
from rich.console import Console

from projects.crate import progress
from projects.crate.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A list whose item is the time, for all that follows."""
    now = [1000.0]
    monkeypatch.setattr(progress, 'Console', functools.partial(Console, get_time=lambda: now[0]))
    return now


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_earlier_work_is_done_but_was_not_fast(clock, capsys):
    with Progress('maskcut') as report:
        clock[0] += 1000  # a model is loaded
        report.begin(total=1000, done=900)
        assert lines(capsys) == ['maskcut: 900/1000 images, ? images/s, ? left']
        clock[0] += 20
        report.advance(4)
        assert lines(capsys) == []
        clock[0] += 20
        report.advance(4)
        assert lines(capsys) == ['maskcut: 908/1000 images, 0.2 images/s, 0:07:40 left']
        clock[0] += 5
        report.advance(92)
        assert lines(capsys) == ['maskcut: 1000/1000 images, 2.2 images/s, 0:00:00 left']


def test_rate_forgets_what_is_long_ago(clock, capsys):
    with Progress('maskcut') as report:
        report.begin(total=10_000, done=0)
        for images, batches in ((1, 60), (10, 100)):
            for _ in range(batches):
                clock[0] += 10
                report.advance(images)
    assert '0.1 images/s' in (text := lines(capsys))[10] and '1.0 images/s' in text[-1]


def test_messages_are_one_line_each(clock, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    long = '[red]a/very/long/' + 'path/' * 40
    with Progress('maskcut[3]', shows_progress=False) as report:
        report.begin(total=10, done=0)
        report.say(long)
        clock[0] += 100
        report.advance(10)
    assert lines(capsys) == [f'maskcut[3]: {long}']


def test_bar_on_a_terminal(clock, capsys, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('COLUMNS', '100')
    with Progress('maskcut') as report:
        report.begin(total=100, done=50)
        clock[0] += 10
        report.advance(10)
        report.say('a message')
    screen = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', capsys.readouterr().err)
    assert re.search(r'maskcut .* 60/100 1\.0 images/s left 0:00:40', screen)
    assert 'maskcut: a message' in screen
