import errno
import gc
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from projects.crate.errors import UserError
from projects.crate.pseudo_labels import parts as parts_module
from projects.crate.pseudo_labels.merge import read_images
from projects.crate.pseudo_labels.parts import Parts, PendingError


def unchanged(number, records):
    return None


def begin(folder, parameters=None, total=3):
    parts = Parts(folder / 'out.json', parameters or dict(tau=0.15), total)
    parts.create()
    return parts


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def records(number, annotations=2, unreadable=()):
    image = dict(id=number + 1, file_name=f'{number}.jpg', height=20, width=50)
    code = dict(size=[20, 50], counts='111' + '0' * 997)  # a pixel without, one with the mask, and so on
    annotation = dict(image_id=number + 1, category_id=1, score=1.0, segmentation=code)
    annotation.update(bbox=[0, 0, 50, 20], area=500, iscrowd=0)
    files = {str(number + 1 + index): [1, 2, 3, 'hash'] for index in range(1 + len(unreadable))}
    return dict(images=[image], annotations=[annotation] * annotations, unreadable=list(unreadable), files=files)


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
    parts.write(1, dict(images=[], annotations=[], unreadable=[(os.fsdecode(b'\xff.jpg'), 'empty')], files={'2': None}))
    assert parts.merge(unchanged) == dict(images=2, annotations=3, unreadable=1)
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
    assert parts.merge(unchanged) == dict(images=1, annotations=0, unreadable=0)
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
        parts.merge(unchanged)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (tmp_path / str(total) / 'out.json').stat().st_size > 10_000 * total
    assert peaks[1] < 1.5 * peaks[0] < 1_000_000


def test_unreadable_images_are_forgotten(tmp_path):
    parts = begin(tmp_path, total=4)
    for number in range(3):
        parts.write(number, records(number, unreadable=[('a.jpg', 'empty')] if number == 1 else []))
    assert parts.forget(range(4), lambda number, records: str(records['unreadable'] or '')) == ["[['a.jpg', 'empty']]"]
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
    with pytest.raises(UserError, match=r'a \(unset, now 0\), b \(unset, now 1\), c \(unset, now 2\), \.\.\.; choose'):
        Parts(
            tmp_path / 'out.json',
            dict(model=dict(tau=0.15, layers=[1, 2], type='A'), batch_size=4, **dict(zip('abcd', range(4)))),
            3,
        )


def test_two_runs_that_begin_at_once_never_mix(tmp_path):
    """Each has looked for the other before the other was there: the one that begins last gives up."""
    first, last = (Parts(tmp_path / 'out.json', dict(tau=tau), 1) for tau in (0.1, 0.2))
    first.create()
    with pytest.raises(UserError, match=r'was begun with other parameters: tau \(0.1, now 0.2\)'):
        last.create()
    assert names(first.root) == [first.folder.name]
    first.write(0, records(0))
    first.merge(unchanged)
    content = json.loads((tmp_path / 'out.json').read_text())
    assert content['info'] == dict(tau=0.1)
    assert content['images'] == records(0)['images']


def test_a_finished_file_is_known(tmp_path):
    parts = begin(tmp_path, total=1)
    parts.write(0, records(0))
    parts.merge(unchanged)
    assert Parts(tmp_path / 'out.json', dict(tau=0.15), 1).is_merged
    with pytest.raises(UserError, match=r'out.json was made with other parameters: tau \(0.15, now 0.2\)'):
        Parts(tmp_path / 'out.json', dict(tau=0.2), 1)


@pytest.mark.parametrize('text', ['', '[]', '{"images": []}', '{"info": {},\n', 'no json at all', '[1,\n2]'])
def test_a_foreign_file_is_left_alone(tmp_path, text):
    (tmp_path / 'out.json').write_text(text)
    with pytest.raises(UserError, match='out.json (was not made by tools/maskcut.py|was made with other)'):
        Parts(tmp_path / 'out.json', dict(tau=0.15), 1)
    assert (tmp_path / 'out.json').read_text() == text


def test_trouble_with_the_folder_is_told(tmp_path):
    parts = begin(tmp_path, total=2)
    parts.write(0, records(0))
    (parts.folder / '0' / '1.json').write_text('{"images":')
    with pytest.raises(PendingError, match=r'0/1\.json cannot be read: Expecting value'):
        parts.merge(unchanged)
    assert parts.forget(range(2), unchanged)[0].startswith(str(parts.folder / '0' / '1.json'))
    assert parts.pending().tolist() == [1]
    assert not (tmp_path / 'out.json').exists()
    parts.remove()
    parts.remove()
    with pytest.raises(UserError, match='out.json.parts/[0-9a-f]+ is gone, and'):
        parts.write(1, records(1))


def test_waiting_ends_when_the_batch_is_there(tmp_path, monkeypatch):
    parts = begin(tmp_path)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            parts.write(1, records(1))

    monkeypatch.setattr(parts_module.time, 'sleep', nap)
    assert parts.wait(1, interval=0.5, patience=1000)
    assert naps == [0.5] * 3


def test_every_wait_ends(tmp_path, monkeypatch):
    """With the batch (above), with OUT, when nobody does the batch, or with a line if the folder is gone."""
    parts = begin(tmp_path, total=1)
    monkeypatch.setattr(parts_module.time, 'sleep', lambda seconds: None)
    assert not parts.wait(0, interval=5, patience=0.01)
    other = begin(tmp_path, total=1)
    other.write(0, records(0))
    other.merge(unchanged)
    assert not parts.wait(0, interval=5, patience=1000)
    (tmp_path / 'out.json').unlink()
    with pytest.raises(UserError, match='is gone, and .* is not there: repeat the command'):
        parts.wait(0, interval=5, patience=1000)


def write_pipe(path):
    path.unlink()
    os.mkfifo(path)


def write_huge(path):
    with path.open('wb') as file:
        file.truncate(1 << 40)


def forged(**texts):
    """Write a batch in which the second annotation has other values, as JSON."""

    def write(path):
        batch = records(1)
        batch['annotations'] = [batch['annotations'][0], batch['annotations'][1] | {key: f'?{key}?' for key in texts}]
        content = json.dumps(batch)
        for key, text in texts.items():
            content = content.replace(f'"?{key}?"', text)
        path.write_text(content)

    return write


FORGED = dict(
    bbox='[0, 0, -1, 5]',
    area='NaN',
    iscrowd='2',
    category_id='7',
    id='1',
    segmentation='{"size": [1000000, 1000000], "counts": "0"}',
)
DAMAGE = dict(
    {
        text[:20]: lambda path, text=text: path.write_bytes(text.encode())
        for text in ('', '{"images": [', 'null', '[]', '"text"', '{}', '\0' * 500, '[' * 100_000, '9' * 5000)
    },
    binary=lambda path: path.write_bytes(bytes(range(256))),
    pipe=write_pipe,
    huge=write_huge,
    types=lambda path: path.write_text('{"images": 1, "annotations": {}, "unreadable": "ab", "files": []}'),
    images=lambda path: path.write_text('{"images": [1], "annotations": [], "unreadable": [], "files": {"2": null}}'),
    lost=lambda path: path.write_text(json.dumps(dict(records(1), annotations=[dict(image_id=7)]))),
    **{f'score {score}': forged(score=score) for score in ('NaN', 'Infinity', 'null', '"1"', '[]')},
    **{f'{key} {value}': forged(**{key: value}) for key, value in FORGED.items()},
    keyless=lambda path: path.write_text(json.dumps(dict(records(1), annotations=[dict(image_id=2)]))),
    surplus=lambda path: path.write_text(json.dumps(dict(records(1), images=[]))),
    earlier=lambda path: path.write_text(json.dumps({k: v for k, v in records(1).items() if k != 'files'})),
    link=lambda path: (path.unlink(), path.symlink_to('/etc/passwd')),
)


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_batch_is_pending_again(tmp_path, damage):
    parts = begin(tmp_path)
    for number in range(3):
        parts.write(number, records(number))
    DAMAGE[damage](parts.folder / '0' / '1.json')
    with pytest.raises(PendingError, match=r'0/1\.json'):
        parts.merge(unchanged)
    assert not (tmp_path / 'out.json').exists()
    (reason,) = parts.forget(range(3), unchanged)
    assert '0/1.json' in reason and '\n' not in reason and len(reason) < 400
    assert parts.pending().tolist() == [1]


@pytest.mark.parametrize('damage', [name for name in DAMAGE if name not in ('{}', 'earlier')])
def test_damaged_parameters_are_one_line(tmp_path, damage):
    parts = begin(tmp_path)
    DAMAGE[damage](parts.folder / 'parameters.json')
    begin(tmp_path)  # the same parameters: the name of the folder says them, and they are written again
    DAMAGE[damage](parts.folder / 'parameters.json')
    with pytest.raises(UserError, match='choose another OUT, or remove .*out.json.parts$') as error:
        Parts(tmp_path / 'out.json', dict(tau=0.2), 3)
    assert '\n' not in str(error.value) and len(str(error.value)) < 700


def test_foreign_files_among_the_batches_do_not_count(tmp_path):
    parts = begin(tmp_path)
    parts.write(0, records(0))
    for name in ('x.json', '-1.json', '3.json', '01.json', '٢.json', f'{"9" * 18}.json', '.1.json.ab.part'):
        (parts.folder / '0' / name).write_text('')
    (parts.folder / '1').mkdir()
    (parts.folder / '1' / '1.json').write_text('')
    assert parts.pending().tolist() == [1, 2]


@pytest.mark.parametrize('position', [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize('kind', ['cut', 'zeros'])
def test_a_damaged_finished_file_is_one_line(tmp_path, kind, position):
    parts = begin(tmp_path)
    for number in range(3):
        parts.write(number, records(number))
    parts.merge(unchanged)
    out = tmp_path / 'out.json'
    assert [entry['id'] for entry in read_images(out)] == [1, 2, 3]
    content = out.read_bytes()
    at = int(position * len(content)) - 2
    out.write_bytes(content[:at] + (b'\0' * (len(content) - at) if kind == 'zeros' else b''))
    with pytest.raises(UserError, match=r'out.json is damaged in line \d+ .*: remove it and repeat the command'):
        list(read_images(out))


def test_only_the_own_folder_is_removed(tmp_path):
    parts = begin(tmp_path, total=1)
    (parts.root / 'precious').mkdir()
    parts.write(0, records(0))
    parts.merge(unchanged)
    assert names(parts.root) == ['precious']


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    parts = begin(tmp_path, total=2)
    parts.write(0, records(0))

    def refuse(path, text):
        with path.open('w') as file:
            file.write(text[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(UserError, match='No space left.*run the same command'):
        patch.setattr(Path, 'write_text', refuse)
        parts.write(1, records(1))
    assert names(parts.folder / '0') == ['0.json']
    parts.write(1, records(1))

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(UserError, match='No space left.*run the same command'):
        patch.setattr(os, 'fsync', full)
        parts.merge(unchanged)
    assert names(tmp_path) == ['out.json.parts'] and names(parts.folder) == ['0', 'parameters.json']
    assert parts.merge(unchanged)['images'] == 2


def test_abandoned_files_are_removed_before_a_merge(tmp_path):
    parts = begin(tmp_path, total=1)
    old, new = (parts.folder / f'.out.json.{name}.part' for name in ('old', 'new'))
    for path in (old, new):
        path.write_text('half')
    os.utime(old, (0, 0))
    with pytest.raises(PendingError):
        parts.merge(unchanged)
    assert new.exists() and not old.exists()
