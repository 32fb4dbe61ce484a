"""tools/train.py on a terminal: whatever ends it, the cursor is shown again."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from argparse import Namespace

import mmengine
import pytest
from mmengine.config import Config
from toy_runs import ROOT, config, load_tool
from yapf.yapflib import yapf_api

SHOW, HIDE = '\x1b[?25h', '\x1b[?25l'
LIMIT = 300  # seconds that a loaded machine may take


def on_a_terminal(path, number=None, at=r' [1-9]\d*/500000'):
    """Run the tool; send it a signal once its bar shows ``at``. Returns what the terminal got, and the exit code."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
    variables = dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS='1', TERM='xterm-256color', COLUMNS='120')
    main, side = pty.openpty()
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(path)]
    files = dict(stdin=side, stdout=side, stderr=side)
    process = subprocess.Popen(command, env=variables, start_new_session=True, preexec_fn=_obey, **files)
    os.close(side)
    text, sent, end = '', False, time.monotonic() + LIMIT
    while time.monotonic() < end:
        ready, _, _ = select.select([main], [], [], 0.1)
        try:
            text += os.read(main, 65536).decode(errors='replace') if ready else ''
        except OSError:  # the other side is closed
            break
        if number and not sent and HIDE in text and re.search(at, text):
            os.killpg(process.pid, number)  # as Ctrl-C does: all processes of the terminal, workers too
            sent = True
    code = process.wait(LIMIT)
    os.close(main)
    return text, code


def _obey():
    """Take Ctrl-C as on a terminal: what a suite in the background starts would ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def plain(text):
    return re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', text).replace('\r', '')


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_cursor_comes_back_after_a_signal(tmp_path, number, code):
    path = config(tmp_path, loop=dict(type='EpochBasedTrainLoop', max_epochs=100000))
    text, found = on_a_terminal(path, number)
    assert found == code, plain(text)[-2000:]
    assert HIDE in text and text.rindex(SHOW) > text.rindex(HIDE)
    assert 'Traceback' not in text
    said = 'train: interrupted; run the same command with --resume to continue' in plain(text).splitlines()
    assert said == (number == signal.SIGINT)


@pytest.mark.parametrize('hook', [dict(type='StopHook', at=3), dict(type='ExitHook', at=3)])
def test_cursor_comes_back_after_an_error(tmp_path, hook):
    text, code = on_a_terminal(config(tmp_path, custom_hooks=[hook]))
    assert HIDE in text and text.rindex(SHOW) > text.rindex(HIDE)
    assert code == (1 if hook['type'] == 'StopHook' else 7)
    if hook['type'] == 'StopHook':  # a bug keeps its traceback, below the bars that are gone
        assert plain(text).rstrip().endswith('toy_runs.InterruptionError')


def test_nothing_else_is_said_after_an_early_interrupt(tmp_path):
    """At once when the bars appear, and with two workers."""
    dataset = dict(type='ToyDataset', log=str(tmp_path / 'seen.txt'))
    sampler = dict(type='DefaultSampler', shuffle=True)
    loader = dict(batch_size=4, num_workers=2, dataset=dataset, sampler=sampler, persistent_workers=True)
    loop = dict(type='EpochBasedTrainLoop', max_epochs=100000)
    text, code = on_a_terminal(config(tmp_path, loop=loop, train_dataloader=loader), signal.SIGINT, at='')
    assert code == 130, plain(text)[-2000:]
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert 'Traceback' not in text


def test_ctrl_c_while_mmengine_formats_a_config(capsys, monkeypatch):
    """Config.pretty_text catches everything and raises a SyntaxError; with --debug Ctrl-C keeps its traceback."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for module in (yapf_api, mmengine.config.config):  # the forks import it from the first, when they need it
        monkeypatch.setattr(module, 'FormatCode', interrupted, raising=False)
    work = lambda args: Config(dict(a=1)).pretty_text  # noqa: E731
    run = load_tool('train').__globals__['_cli'].run
    assert run('train', work, Namespace(debug=False)) == 130
    assert capsys.readouterr().err == 'train: interrupted\n'
    with pytest.raises(KeyboardInterrupt):
        run('train', work, Namespace(debug=True))
