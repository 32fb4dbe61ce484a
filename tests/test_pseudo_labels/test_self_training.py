"""Predictions merged with older masks: against a plain computation on arrays, on damaged files, and through kills."""

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from forked_tools import FRESH_PYTHON
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from toy_runs import ROOT, load_tool

from projects.crate.coco import coco_annotation
from projects.crate.errors import UserError
from projects.crate.pseudo_labels import count_sources, merge_labels
from projects.crate.pseudo_labels.merge import write_merged
from projects.crate.pseudo_labels.self_training import merge_image

SIZE = 12, 16


def box_mask(x1, y1, x2, y2):
    mask = np.zeros(SIZE, dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def annotation(mask, image_id=1, score=1.0):
    return dict(coco_annotation(mask, 0), image_id=image_id, score=score)


def write(path, annotations, number=2, **changes):
    """A file of ``number`` images in the form of tools/maskcut.py."""
    images = [
        dict(dict(id=n, file_name=f'{n}.jpg', height=SIZE[0], width=SIZE[1]), **changes) for n in range(1, 1 + number)
    ]
    with path.open('w') as file:
        write_merged(file, dict(description=path.stem), images=images, annotations=annotations)
    return path


def merged(tmp_path, old, new, threshold=0.7):
    files = write(tmp_path / 'old.json', old), write(tmp_path / 'new.json', new)
    merge_labels(*files, tmp_path / 'out.json', threshold)
    return json.loads((tmp_path / 'out.json').read_text())


boxes = st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(8, 16), st.integers(6, 12)).map(
    lambda b: box_mask(*b)
)


@given(st.lists(boxes, max_size=4), st.lists(st.tuples(boxes, st.floats(0, 1)), max_size=4), st.floats(0, 1))
def test_rule_against_arrays(old, new, threshold):
    found = merge_image(
        [annotation(one) for one in old], [annotation(one, score=score) for one, score in new], threshold
    )
    kept = [one for one, score in new if score > threshold]
    rest = [one for one in old if all((one & p).sum() / (one | p).sum() < 0.5 for p in kept)]
    masks = [coco_mask.decode(one['segmentation']).astype(bool) for one in found]
    assert len(masks) == len(kept) + len(rest)
    assert all((a == b).all() for a, b in zip(masks, kept + rest))


def test_file(tmp_path):
    """Image 1: an object found again, one that is not, one that is new, one that is doubtful. Image 2: an old mask."""
    again, missed, fresh, doubtful = (
        box_mask(0, 0, 8, 8),
        box_mask(10, 0, 16, 4),
        box_mask(9, 6, 15, 12),
        box_mask(0, 9, 4, 12),
    )
    old = [annotation(again), annotation(missed), annotation(missed, image_id=2, score=0.5)]
    new = [annotation(box_mask(0, 0, 8, 7), score=0.9), annotation(fresh, score=0.8), annotation(doubtful, score=0.7)]
    content = merged(tmp_path, old, new)
    assert [(one['id'], one['image_id'], one['score']) for one in content['annotations']] == [
        (1, 1, 0.9), (2, 1, 0.8), (3, 1, 1.0), (4, 2, 0.5)
    ]  # fmt: skip
    assert count_sources(tmp_path / 'out.json', tmp_path / 'new.json') == (2, 2)
    assert [image['file_name'] for image in content['images']] == ['1.jpg', '2.jpg']
    for one in content['annotations']:  # in pixels of the mask, x before y
        mask = coco_mask.decode(one['segmentation'])
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        assert one['area'] == mask.sum()
        assert one['bbox'] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['new.json', 'old.json', 'out.json']


def test_the_result_is_an_input_and_a_second_call_does_nothing(tmp_path):
    old, new = [annotation(box_mask(0, 0, 8, 8))], [annotation(box_mask(9, 6, 15, 12), score=0.9)]
    merged(tmp_path, old, new)
    before = (tmp_path / 'out.json').stat()
    assert merge_labels(tmp_path / 'old.json', tmp_path / 'new.json', tmp_path / 'out.json', 0.7) == {}
    assert (tmp_path / 'out.json').stat() == before
    counts = merge_labels(tmp_path / 'out.json', tmp_path / 'new.json', tmp_path / 'again.json', 0.7)
    assert counts == dict(images=2, annotations=2)
    merge_labels(tmp_path / 'old.json', tmp_path / 'new.json', tmp_path / 'none.json', 0.95)
    assert count_sources(tmp_path / 'none.json', tmp_path / 'new.json') == (0, 1)
    with pytest.raises(UserError, match='made from other files or another threshold'):
        merge_labels(tmp_path / 'old.json', tmp_path / 'new.json', tmp_path / 'out.json', 0.6)


CODE = annotation(box_mask(0, 0, 8, 8))


@pytest.mark.parametrize(
    ('annotations', 'changes', 'message'),
    [
        ([], dict(file_name='x.jpg'), r'have different images: number 1 is 1\.jpg and x\.jpg'),
        ([dict(CODE, image_id=2), CODE], {}, 'annotation 2 is not in the order of the images'),
        ([dict(CODE, image_id=3)], {}, 'annotation 1 is not in the order of the images'),
        ([dict(CODE, score=float('nan'))], {}, 'annotation 1: its score is nan'),
        ([dict(CODE, segmentation=dict(size=[10**6, 10**6], counts='1'))], {}, 'annotation 1: its run-length code has'),
        ([dict(CODE, segmentation=dict(size=SIZE, counts=[0, 192]))], {}, 'annotation 1: .* no compressed run-length'),
        ([dict(CODE, segmentation=[[1, 1, 9, 1, 9, 9]])], {}, 'annotation 1: .* no compressed run-length'),
    ],
)
def test_files_that_do_not_fit(tmp_path, annotations, changes, message):
    old, new = write(tmp_path / 'old.json', []), write(tmp_path / 'new.json', annotations, **changes)
    with pytest.raises(UserError, match=message):
        merge_labels(old, new, tmp_path / 'out.json', 0.7)
    assert not (tmp_path / 'out.json').exists()


def test_one_line_for_what_is_no_file_of_ours(tmp_path, capsys):
    (tmp_path / 'coco.json').write_text('{"images": [], "annotations": []}')
    write(tmp_path / 'new.json', [])
    tool, rest = load_tool('merge_labels'), [str(tmp_path / 'new.json'), str(tmp_path / 'out.json')]
    assert tool([str(tmp_path / 'coco.json'), *rest]) == 1
    assert tool([str(tmp_path / 'none.json'), *rest]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert 'was not made by tools/maskcut.py' in lines[0] and lines[1].startswith('merge_labels: not found: ')


@pytest.mark.parametrize('text', ['nan', '70', '-0.1'])
@pytest.mark.parametrize('words', [['merge_labels', 'a', 'b', 'c'], ['discover', 'a', '--out', 'b', '--backbone', 'c']])
def test_threshold_is_a_share(capsys, words, text):
    with pytest.raises(SystemExit):
        load_tool(words[0])([*words[1:], f'--threshold={text}'])
    assert f'{text} is not from 0 to 1' in capsys.readouterr().err


# A small process starts the tool: Linux counts the memory of the process that starts another into the peak of the other
PEAK = 'import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True)\n'
PEAK += 'print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)'


def command(folder, out):
    words = [sys.executable, ROOT / 'tools/merge_labels.py', folder / 'old.json', folder / 'new.json', out]
    return [str(word) for word in words]


@pytest.mark.slow
def test_kills_and_memory(tmp_path):
    """SIGKILL at random times until eight have struck; the file is that of an undisturbed run. Memory stays."""
    peaks = {}
    for number in (1_000, 10_000):
        rows = [annotation(box_mask(n % 5, n % 3, 12, 11), 1 + n, 0.5 + n % 50 / 100) for n in range(number)]
        for name in ('old', 'new'):
            write(tmp_path / f'{name}.json', rows, number)
        measured = [FRESH_PYTHON, '-c', PEAK, FRESH_PYTHON, *command(tmp_path, tmp_path / f'{number}.json')[1:]]
        peaks[number] = int(subprocess.check_output(measured, text=True).split()[-1])
    assert peaks[10_000] < peaks[1_000] + 4_000  # kilobytes, of which the file has more
    for name in ('first', 'whole'):  # the first one waits for the server of the forks
        started = time.monotonic()
        assert subprocess.run(command(tmp_path, tmp_path / f'{name}.json')).returncode == 0
        seconds = time.monotonic() - started
    rng, kills, out = random.Random(0), 0, tmp_path / 'parted.json'
    while kills < 8:
        process = subprocess.Popen(command(tmp_path, out))
        try:
            process.wait(rng.uniform(0, seconds))
            out.unlink()  # done before all kills: once more
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            out.unlink(missing_ok=True)
    assert subprocess.run(command(tmp_path, out)).returncode == 0
    assert out.read_bytes() == (tmp_path / 'whole.json').read_bytes() == (tmp_path / '10000.json').read_bytes()
    assert not [path for path in tmp_path.rglob('*') if path.name.endswith(('.part', '.parts'))]
