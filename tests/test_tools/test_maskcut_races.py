"""Several commands on one OUT, at every point of one another; images that change between two commands."""

import itertools
import json
import multiprocessing
import os
import random
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image
from test_maskcut_tool import ids_done, ids_loaded, interrupt, maskcut
from toy_maskcut import LOG, make_run

from projects.crate.pseudo_labels import label

ACTIONS = []  # (text in the path, function): the function is called before each operation on a file with such a path


def _audit(event, arguments):
    if ACTIONS and event in ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'os.scandir', 'shutil.rmtree'):
        path, action = ACTIONS[-1]
        if path in str(arguments[0]):
            action()


@pytest.fixture(scope='module', autouse=True)
def audit():
    sys.addaudithook(_audit)


def at_nth_operation(out, n, action):
    """Call ``action`` before the n-th operation of this process on ``out`` and its company; returns how many came."""
    seen = itertools.count(1)
    counts = [0]

    def count():
        counts[0] = next(seen)
        if counts[0] == n:
            ACTIONS.append(('no such path', None))  # the action's own operations do not count
            try:
                action()
            finally:
                ACTIONS.pop()

    ACTIONS.append((str(out), count))
    return counts


@pytest.fixture(autouse=True)
def no_actions():
    yield
    ACTIONS.clear()


@pytest.fixture
def small(tmp_path):
    run = make_run(tmp_path, number=6, num_masks=1)
    assert maskcut(run, tmp_path / 'whole.json') == 0
    return run


def is_whole(out):
    """The file is that of an undisturbed run, and alone."""
    assert out.read_bytes() == (out.parent.parent / 'whole.json').read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ['out.json']


@pytest.mark.parametrize('begun', [False, True])
def test_a_second_command_runs_while_the_first_one_stands_still(small, tmp_path, begun):
    """Before each operation on a file, from the first look to the removal of the last folder."""
    for n in itertools.count(1):
        out = tmp_path / str(n) / 'out.json'
        codes = []
        if begun:
            out.parent.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                interrupt(patch, small, out, n=7)
        counts = at_nth_operation(out, n, lambda out=out, codes=codes: codes.append(maskcut(small, out)))
        codes.append(maskcut(small, out))
        ACTIONS.clear()
        is_whole(out)
        if counts[0] < n:
            break
        assert codes == [0, 0]
    assert n > 20


def test_the_first_of_two_waits_while_a_second_command_finishes(small, tmp_path, monkeypatch):
    """Of two processes the second never runs; a command for one does all of it meanwhile."""
    out = tmp_path / '1' / 'out.json'

    def other(seconds):
        monkeypatch.setenv('WORLD_SIZE', '1')
        assert maskcut(small, out) == 0

    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr('time.sleep', other)
    assert maskcut(small, out) == 0
    is_whole(out)


def test_the_first_process_does_what_nobody_does(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr(label, 'PATIENCE', 0.1)
    monkeypatch.setattr(label, 'POLL_INTERVAL', 0.02)
    assert maskcut(small, tmp_path / '1' / 'out.json') == 0
    is_whole(tmp_path / '1' / 'out.json')
    assert 'nobody did batch 1' in capsys.readouterr().err


def test_two_different_commands_never_replace_each_others_file(small, tmp_path, capsys):
    """Whichever comes first wins; the other one ends with a line, or both do."""
    for n in itertools.count(1):
        out = tmp_path / str(n) / 'out.json'
        codes = []

        def other(out=out, codes=codes):
            codes.append(maskcut(small, out, '--cfg-options', 'model.tau=0.2'))

        counts = at_nth_operation(out, n, other)
        codes.append(maskcut(small, out))
        ACTIONS.clear()
        if counts[0] < n:
            break
        assert sorted(codes) == [0, 1]
        assert json.loads(out.read_text())['info']['model']['tau'] == (0.2 if codes[0] == 0 else 0.15)
        assert 'with other parameters: model.tau' in capsys.readouterr().err
    assert n > 20


def fork(run, out, seed):
    def work():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        label.POLL_INTERVAL = random.Random(seed).random() / 10
        sys.exit(maskcut(run, out))

    process = multiprocessing.get_context('fork').Process(target=work)
    process.start()
    return process


@pytest.mark.parametrize('seed', range(int(os.environ.get('CRATE_TEST_PAIRS', '6'))))
def test_two_real_commands_end(small, tmp_path, seed):
    """They stop for moments, and one of three is killed, at times drawn by a seed. CRATE_TEST_PAIRS sets how many."""
    rng = random.Random(seed)
    out = tmp_path / '1' / 'out.json'
    out.parent.mkdir()
    processes = []
    for number in range(3):
        processes.append(fork(small, out, seed * 10 + number))
        time.sleep(rng.random() * 0.4)
        if rng.random() < 0.5 and processes[0].is_alive():
            os.kill(processes[0].pid, signal.SIGSTOP)
            time.sleep(rng.random() * 0.3)
            os.kill(processes[0].pid, signal.SIGCONT)
    if killed := rng.random() < 0.3:
        processes[1].kill()
    for number, process in enumerate(processes):
        process.join(60)
        assert process.exitcode == 0 or (killed and number == 1), process.exitcode
    assert maskcut(small, out) == 0  # removes what a killed one may have left
    is_whole(out)


def change(path):
    pixels = np.asarray(Image.open(path)).copy()
    Image.fromarray(255 - pixels).save(path)


def names(run):
    return sorted(str(path.relative_to(run[0])) for path in run[0].rglob('*.*'))


@pytest.mark.parametrize('hides', [False, True])
def test_changed_images_are_computed_again(small, tmp_path, monkeypatch, capsys, hides):
    """Also if the time of the change is set back. The file is that of a run over the images of today."""
    out = tmp_path / '1' / 'out.json'
    assert interrupt(monkeypatch, small, out, n=10)  # at the merge
    path = small[0] / names(small)[1]
    times = path.stat().st_mtime_ns
    change(path)
    if hides:
        os.utime(path, ns=(times, times))
    monkeypatch.setenv(LOG, str(tmp_path / 'log.txt'))
    assert maskcut(small, out) == 0
    assert ids_loaded(tmp_path / 'log.txt') == [1, 2, 3, 4]
    assert f'done again: 1 batches ({names(small)[1]} has changed)' in capsys.readouterr().err
    old = (tmp_path / 'whole.json').read_bytes()
    assert maskcut(small, tmp_path / 'whole.json') == 1
    (tmp_path / 'whole.json').unlink()
    assert maskcut(small, tmp_path / 'whole.json') == 0
    is_whole(out)
    assert out.read_bytes() != old


def test_other_times_alone_change_nothing(small, tmp_path, monkeypatch):
    out = tmp_path / '1' / 'out.json'
    assert interrupt(monkeypatch, small, out, n=8)
    done = ids_done(out)
    for name in names(small):
        os.utime(small[0] / name, (0, 0))
    monkeypatch.setenv(LOG, str(tmp_path / 'log.txt'))
    assert maskcut(small, out) == 0
    assert sorted(ids_loaded(tmp_path / 'log.txt')) == sorted(set(range(1, 7)) - done) != list(range(1, 7))
    is_whole(out)
    assert maskcut(small, out) == 0


@pytest.mark.parametrize('limits', [('900', None), (None, '900')])
def test_another_limit_of_pixels(small, tmp_path, monkeypatch, capsys, limits):
    """Some images have less than 900 pixels, and some more. The file is that of the limit of the second run."""
    out, other = tmp_path / '1' / 'out.json', tmp_path / 'other.json'
    for limit in limits:
        monkeypatch.delenv('CRATE_MAX_PIXELS', raising=False)
        if limit is not None:
            monkeypatch.setenv('CRATE_MAX_PIXELS', limit)
        if limit == limits[0]:
            with monkeypatch.context() as patch:
                assert interrupt(patch, small, out, n=10)  # at the merge
    assert maskcut(small, other) == 0
    capsys.readouterr()
    assert maskcut(small, out) == 0
    assert 'done again' in (error := capsys.readouterr().err) and '(CRATE_MAX_PIXELS was ' in error
    assert out.read_bytes() == other.read_bytes()
    assert len(json.loads(out.read_text())['images']) == (6 if limits[1] is None else 3)


def test_images_that_change_while_they_are_labelled(small, tmp_path, monkeypatch):
    """After their batch, and before the merge."""
    out = tmp_path / '1' / 'out.json'
    merge = label.Parts.merge

    def change_and_merge(parts, check):
        monkeypatch.setattr(label.Parts, 'merge', merge)
        change(small[0] / names(small)[5])
        return merge(parts, check)

    monkeypatch.setattr(label.Parts, 'merge', change_and_merge)
    assert maskcut(small, out) == 0
    (tmp_path / 'whole.json').unlink()
    assert maskcut(small, tmp_path / 'whole.json') == 0
    is_whole(out)


def test_a_finished_file_of_changed_images_is_an_error(small, tmp_path, capsys):
    out = tmp_path / 'whole.json'
    for name in names(small)[2:4]:
        change(small[0] / name)
    assert maskcut(small, out) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f'2 of its images have changed since, first {names(small)[2]}: choose another OUT, or remove' in line


def test_unusual_files_are_unreadable_and_their_names_come_back(small, tmp_path, capsys):
    """A pipe, a broken link, a link to itself; names with an end of a line, a tab, a quote."""
    folder = small[0]
    os.mkfifo(folder / 'pipe.jpg')
    (folder / 'broken.jpg').symlink_to('nothing')
    (folder / 'self.jpg').symlink_to('self.jpg')
    (folder / 'a' / 'loop').symlink_to(folder)
    good = (folder / names(small)[0]).read_bytes()
    bad = ['"quote.jpg', '#x.jpg', 'a\\b.jpg', 'cr\r.jpg', 'new\nline.jpg', 'tab\t.jpg', 'ü\x85.jpg']
    bad.append(os.fsdecode(b'\xff\n.jpg'))
    for name in bad:
        (folder / name).write_bytes(b'')
    out = tmp_path / '1' / 'out.json'
    assert maskcut(small, out) == 0
    assert 'folder left out: a/loop/ (a link to a folder that it lies in)' in capsys.readouterr().err
    assert len(json.loads(out.read_text())['images']) == 6
    for name in bad:
        (folder / name).write_bytes(good)
    listed = tmp_path / '1' / 'out.json.unreadable.txt'
    assert listed.read_bytes().count(b'\n') == len(bad) + 3
    again = tmp_path / '2' / 'out.json'
    assert maskcut([listed, *small[1:]], again, '--root', folder) == 0
    found = [image['file_name'] for image in json.loads(again.read_text())['images']]
    assert found == sorted(bad)
