import os
from pathlib import Path

import pytest

from projects.crate.files import atomic, can_block


def test_the_file_appears_whole(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('old')
    with atomic(path) as part:
        part.write_text('new')
        assert path.read_text() == 'old'
        assert part.parent == tmp_path
    assert path.read_text() == 'new'
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    """A loss of power is no kill: without the first sync the name may stand for an empty file."""
    path, order, fsync = tmp_path / 'a.json', [], os.fsync

    def recorded(number):
        is_folder = Path(f'/proc/self/fd/{number}').resolve() == tmp_path
        order.append(('folder' if is_folder else 'content', path.exists()))
        fsync(number)

    monkeypatch.setattr(os, 'fsync', recorded)
    with atomic(path) as part:
        part.write_text('new')
    assert order == [('content', False), ('folder', True)]


def test_an_exception_leaves_what_was(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('old')
    with pytest.raises(ZeroDivisionError), atomic(path) as part:
        part.write_text('half')
        raise ZeroDivisionError
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_it_may_lie_elsewhere_until_then(tmp_path):
    folder = tmp_path / 'parts'
    folder.mkdir()
    with atomic(tmp_path / 'a.json', folder) as part:
        part.write_text('new')
        assert part.parent == folder
    assert (tmp_path / 'a.json').read_text() == 'new'
    assert not list(folder.iterdir())


def test_two_writers_do_not_meet(tmp_path):
    with atomic(tmp_path / 'a') as first, atomic(tmp_path / 'a') as second:
        first.write_text('1')
        second.write_text('2')
    assert (tmp_path / 'a').read_text() == '1'  # the last one to end


def test_what_can_keep_a_reader_waiting(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'file').touch()
    (tmp_path / 'broken').symlink_to('nothing')
    can_wait = [name for name in ('pipe', 'file', 'broken', '.', 'a' * 300, '\0') if can_block(tmp_path / name)]
    assert can_wait == ['pipe']
    assert can_block('/dev/zero')
