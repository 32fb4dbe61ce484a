import gc
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from projects.crate.errors import UserError
from projects.crate.pseudo_labels import parts as parts_module
from projects.crate.pseudo_labels.parts import Parts


def begin(folder, parameters=None, total=3):
    parts = Parts(folder / 'out.json', parameters or dict(tau=0.15), total)
    parts.create()
    return parts


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def records(number, annotations=2, unreadable=()):
    image = dict(id=number + 1, file_name=f'{number}.jpg', height=20, width=30)
    annotation = dict(
        image_id=number + 1, category_id=1, score=1.0, segmentation=dict(size=[20, 30], counts='a' * 1000)
    )
    return dict(images=[image], annotations=[annotation] * annotations, unreadable=list(unreadable))


def test_what_is_written_is_done(tmp_path):
    parts = begin(tmp_path, total=2500)
    for number in (0, 999, 1000, 2499):
        parts.write(number, records(number))
    left = np.setdiff1d(np.arange(2500), [0, 999, 1000, 2499])
    np.testing.assert_array_equal(parts.pending(), left)
    np.testing.assert_array_equal(begin(tmp_path, total=2500).pending(), left)


def test_what_a_kill_leaves_is_not_done(tmp_path, monkeypatch):
    parts = begin(tmp_path)
    parts.write(0, records(0))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Path, 'replace', lambda path, target: 1 / 0)
        patch.setattr(Path, 'unlink', lambda path, missing_ok: None)
        parts.write(1, records(1))
    assert len(names(parts.folder / '0')) == 2
    assert parts.pending().tolist() == [1, 2]


def test_data_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    """And the name is, before the batch counts as done."""
    parts, calls = begin(tmp_path.resolve()), []
    fsync, replace = os.fsync, Path.replace

    def logged_fsync(descriptor):
        path = Path(f'/proc/self/fd/{descriptor}').readlink()
        calls.append(json.loads(path.read_text()) if path.is_file() else path)
        fsync(descriptor)

    def logged_replace(path, target):
        calls.append(target)
        return replace(path, target)

    monkeypatch.setattr(os, 'fsync', logged_fsync)
    monkeypatch.setattr(Path, 'replace', logged_replace)
    parts.write(0, records(0))
    assert calls == [records(0), parts.folder / '0' / '0.json', parts.folder / '0']


def test_merged_file(tmp_path):
    parts = begin(tmp_path, dict(model=dict(tau=0.15)))
    parts.write(2, records(2, annotations=1))
    parts.write(0, records(0))
    parts.write(1, dict(images=[], annotations=[], unreadable=[(os.fsdecode(b'\xff.jpg'), 'empty')]))
    assert parts.merge() == dict(images=2, annotations=3, unreadable=1)
    content = json.loads((tmp_path / 'out.json').read_text())
    assert list(content) == ['info', 'licenses', 'categories', 'images', 'annotations']
    assert content['info'] == dict(model=dict(tau=0.15))
    assert content['categories'] == [dict(id=1, name='object')]
    assert content['images'] == [*records(0)['images'], *records(2)['images']]
    assert [(one['id'], one['image_id']) for one in content['annotations']] == [(1, 1), (2, 1), (3, 3)]
    assert (tmp_path / 'out.json.unreadable.txt').read_bytes() == b'\xff.jpg\tempty\n'
    assert names(tmp_path) == ['out.json', 'out.json.unreadable.txt']


def test_no_images_and_no_masks_are_lists(tmp_path):
    parts = begin(tmp_path, total=1)
    (tmp_path / 'out.json.unreadable.txt').write_text('of a run that was removed')
    parts.write(0, records(0, annotations=0))
    assert parts.merge() == dict(images=1, annotations=0, unreadable=0)
    assert json.loads((tmp_path / 'out.json').read_text())['annotations'] == []
    assert names(tmp_path) == ['out.json']


def test_memory_of_a_merge_does_not_grow(tmp_path):
    peaks = []
    for total in (10, 100):
        (tmp_path / str(total)).mkdir()
        parts = begin(tmp_path / str(total), total=total)
        for number in range(total):
            parts.write(number, records(number, annotations=10))
        gc.collect()
        tracemalloc.start()
        parts.merge()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (tmp_path / str(total) / 'out.json').stat().st_size > 10_000 * total
    assert peaks[1] < 1.5 * peaks[0] < 1_000_000


def test_unreadable_images_are_forgotten(tmp_path):
    parts = begin(tmp_path, total=4)
    for number in range(3):
        parts.write(number, records(number, unreadable=[('a.jpg', 'empty')] if number == 1 else []))
    assert parts.forget_unreadable() == 1
    assert parts.pending().tolist() == [1, 3]


def test_another_runs_folder_is_left_alone(tmp_path):
    begin(tmp_path, dict(model=dict(tau=0.15, layers=[1, 2], type='A'), batch_size=4))
    with pytest.raises(UserError) as error:
        Parts(tmp_path / 'out.json', dict(model=dict(tau=0.2, layers=[1, 2, 3], type='A'), batch_size=4), 3)
    root = tmp_path / 'out.json.parts'
    assert str(error.value) == (
        f'{root} was begun with other parameters: model.tau (0.15, now 0.2), model.layers.2 (unset, now 3); '
        f'choose another OUT, or remove {root}'
    )
    assert len(names(root)) == 1
    with pytest.raises(
        UserError, match=r'a \(unset, now 0\), b \(unset, now 1\), c \(unset, now 2\), \.\.\.; choose'
    ):
        Parts(
            tmp_path / 'out.json',
            dict(model=dict(tau=0.15, layers=[1, 2], type='A'), batch_size=4, **dict(zip('abcd', range(4)))),
            3,
        )


def test_two_runs_that_begin_at_once_never_mix(tmp_path):
    """Each has looked for the other before the other was there."""
    runs = [Parts(tmp_path / 'out.json', dict(tau=tau), 1) for tau in (0.1, 0.2)]
    for number, run in enumerate(runs):
        run.create()
        run.write(0, records(number))
    runs[0].merge()
    content = json.loads((tmp_path / 'out.json').read_text())
    assert content['info'] == dict(tau=0.1)
    assert content['images'] == records(0)['images']


def test_a_finished_file_is_known(tmp_path):
    parts = begin(tmp_path, total=1)
    parts.write(0, records(0))
    parts.merge()
    assert Parts(tmp_path / 'out.json', dict(tau=0.15), 1).is_merged
    with pytest.raises(UserError, match=r'out.json was made with other parameters: tau \(0.15, now 0.2\)'):
        Parts(tmp_path / 'out.json', dict(tau=0.2), 1)


@pytest.mark.parametrize('text', ['', '[]', '{"images": []}', '{"info": {},\n', 'no json at all', '[1,\n2]'])
def test_a_foreign_file_is_left_alone(tmp_path, text):
    (tmp_path / 'out.json').write_text(text)
    with pytest.raises(UserError, match='out.json (exists and was not made by this tool|was made with other)'):
        Parts(tmp_path / 'out.json', dict(tau=0.15), 1)
    assert (tmp_path / 'out.json').read_text() == text


def test_trouble_with_the_folder_is_told(tmp_path):
    parts = begin(tmp_path, total=2)
    parts.write(0, records(0))
    (parts.folder / '0' / '1.json').write_text('{"images":')
    with pytest.raises(UserError, match=r'0/1\.json is damaged .*: remove it and repeat the command'):
        parts.merge()
    assert not (tmp_path / 'out.json').exists()
    parts.remove()
    parts.remove()
    with pytest.raises(UserError, match='out.json.parts is gone'):
        parts.write(1, records(1))


def test_waiting_ends_when_the_batch_is_there(tmp_path, monkeypatch):
    parts = begin(tmp_path)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            parts.write(1, records(1))

    monkeypatch.setattr(parts_module.time, 'sleep', nap)
    parts.wait(1, interval=0.5)
    assert naps == [0.5] * 3
