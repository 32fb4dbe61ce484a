import json
import multiprocessing
import re

import numpy as np
import pytest

from projects.crate.sample_set import write
from projects.crate.sample_set.coats import METAINFO
from projects.crate.sample_set.write import SampleSpec, make_sample_set, render_sample

SMALL = SampleSpec(train=40, val=9, size=(24, 32), max_objects=1, seed=5)
SCENES = SampleSpec(train=40, val=9, size=(32, 40), max_objects=4, seed=5)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.mark.parametrize('layout, spec', [('imagenet', SMALL), ('voc', SCENES), ('coco', SCENES)])
def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path, layout, spec):
    for workers in (1, 2, 3):
        assert make_sample_set(tmp_path / str(workers), layout, spec, workers)
    one = contents(tmp_path / '1')
    assert len(one) > 50
    assert one == contents(tmp_path / '2') == contents(tmp_path / '3')


def kind_of_process(_):
    return type(multiprocessing.current_process()).__name__


def test_workers_are_forked_under_every_default(monkeypatch):
    """Python 3.14 would start them anew, with an import of the project in each."""
    default = multiprocessing.context._default_context
    monkeypatch.setattr(default, '_actual_context', multiprocessing.get_context('spawn'))
    assert set(write._run(kind_of_process, 4, 2, 'test')) == {'ForkProcess'}


def test_a_larger_set_begins_as_a_smaller_one(tmp_path):
    make_sample_set(tmp_path / 'small', 'voc', SampleSpec(8, 8, (16, 20), 3))
    make_sample_set(tmp_path / 'large', 'voc', SampleSpec(12, 8, (16, 20), 3))
    small, large = contents(tmp_path / 'small'), contents(tmp_path / 'large')
    pictures = [name for name in small if name.endswith(('.jpg', '.png'))]
    assert len(pictures) == 3 * 16 and all(small[name] == large[name] for name in pictures)


def test_seeds_splits_and_indices_are_different_images():
    other = SampleSpec(**{**SMALL.__dict__, 'seed': 6})
    images = [
        render_sample(spec, split, index).image
        for spec in (SMALL, other)
        for split in ('train', 'val')
        for index in range(9)
    ]
    assert len({image.tobytes() for image in images}) == 36


def test_classes_are_balanced():
    labels = [render_sample(SMALL, 'train', index).labels for index in range(40)]
    assert all(len(one) == 1 for one in labels)
    assert np.bincount(np.concatenate(labels)).tolist() == [5] * 8
    scenes = [render_sample(SampleSpec(200, 8, (32, 32), 4), 'train', index).labels for index in range(200)]
    counts = np.bincount(np.concatenate(scenes), minlength=8)
    assert counts.min() > 0.6 * counts.max()
    assert {len(one) for one in scenes} == {1, 2, 3, 4}


def test_second_call_touches_nothing_and_another_request_says_what_is_there(tmp_path):
    assert make_sample_set(tmp_path, 'imagenet', SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    assert not make_sample_set(tmp_path, 'imagenet', SMALL, workers=2)
    with pytest.raises(FileExistsError, match=r'train=40, seed=5, asked for train=48, seed=0; choose another folder'):
        make_sample_set(tmp_path, 'imagenet', SampleSpec(train=48, val=9, size=(24, 32)))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


@pytest.mark.parametrize('marker', [None, '{"train": 4', '{}'])
def test_foreign_folders_are_refused_and_kept(tmp_path, marker):
    precious = tmp_path / 'imagenet' / 'train' / 'n01440764' / 'tench.jpg'
    precious.parent.mkdir(parents=True)
    precious.write_text('x')
    if marker is not None:
        (tmp_path / 'imagenet' / 'sample_set.json').write_text(marker)
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path / 'imagenet'))):
        make_sample_set(tmp_path, 'imagenet', SMALL)
    assert precious.read_text() == 'x'


def test_leftovers_of_an_interrupted_run_do_not_get_into_the_set(tmp_path):
    blocked = tmp_path / 'coco.partial'
    (blocked / 'annotations').mkdir(parents=True)
    (blocked / 'train2017').mkdir()
    (blocked / 'train2017' / 'leftover.jpg').write_text('half a picture')
    assert make_sample_set(tmp_path, 'coco', SCENES)
    assert [path.name for path in tmp_path.iterdir()] == ['coco']
    assert not (tmp_path / 'coco' / 'train2017' / 'leftover.jpg').exists()
    assert json.loads((tmp_path / 'coco' / 'sample_set.json').read_text())['size'] == [32, 40]


@pytest.mark.parametrize(
    'changes, name',
    [
        (dict(train=7), 'train'),
        (dict(val=0), 'val'),
        (dict(max_objects=0), 'max_objects'),
        (dict(max_objects=9), 'max_objects'),
        (dict(seed=-1), 'seed'),
        (dict(seed=2**32), 'seed'),
        (dict(size=(48, 8)), 'size'),
    ],
)
def test_numbers_out_of_range_are_named(changes, name):
    with pytest.raises(ValueError, match=f'^{name}: '):
        SampleSpec(**changes)


def test_unknown_layout_is_named(tmp_path):
    with pytest.raises(ValueError, match="one of imagenet, voc, coco; not 'yolo'"):
        make_sample_set(tmp_path, 'yolo', SMALL)


def test_metainfo_covers_every_label():
    assert len(METAINFO['classes']) == 1 + max(render_sample(SMALL, 'train', index).labels[0] for index in range(8))
