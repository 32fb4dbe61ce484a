"""COCO files of all kinds of damage: one line that names the file and the annotation, before pycocotools sees them."""

import copy
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from projects.crate.errors import UserError
from projects.crate.evaluation.coco_file import CocoFileError, check_coco, read_coco

HEIGHT, WIDTH = 20, 30
POLYGON = [1, 1, 9, 1, 9, 9]


def rle(mask=None, **changes):
    mask = np.eye(HEIGHT, WIDTH, dtype=np.uint8) if mask is None else mask
    code = coco_mask.encode(np.asfortranarray(mask))
    return {**dict(size=list(mask.shape), counts=code['counts'].decode()), **changes}


def content(**changes):
    """A file of two images, whose second annotation is changed; None takes a key away."""
    images = [dict(id=i, file_name=f'{i}.jpg', height=HEIGHT, width=WIDTH) for i in (3, 4)]
    annotation = dict(image_id=3, category_id=7, bbox=[1, 1, 8, 8], area=32.0, segmentation=[POLYGON], iscrowd=0)
    changed = {key: value for key, value in {**annotation, **changes}.items() if value is not None}
    return dict(
        images=images,
        categories=[dict(id=7, name='cat')],
        annotations=[dict(id=1, **annotation), dict(dict(id=2), **changed)],
    )


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


@pytest.mark.parametrize(
    'changes',
    [
        dict(iscrowd=None),
        dict(iscrowd=1, segmentation=dict(size=[HEIGHT, WIDTH], counts=[100, 500])),
        dict(segmentation=rle()),
        dict(segmentation=rle(np.zeros((HEIGHT, WIDTH), np.uint8))),
        dict(segmentation=[POLYGON, [-1.5, 2, 31, 4, 5.5, 20]]),
        dict(bbox=[0.5, 0, 0, 0], area=0),
    ],
)
def test_good_files(tmp_path, changes):
    given = content(**changes)
    path = write(tmp_path / 'a.json', given)
    before = (tmp_path / 'a.json').read_bytes()
    found = read_coco(path, masks=True)
    expected = copy.deepcopy(given)
    for annotation in expected['annotations']:
        annotation.setdefault('iscrowd', 0)
    assert found == expected and (tmp_path / 'a.json').read_bytes() == before


MASKS = {
    'missing': (dict(segmentation=None), 'has no segmentation'),
    'empty': (dict(segmentation=[]), 'has no segmentation'),
    'an empty polygon': (dict(segmentation=[[]]), 'has 0 numbers'),
    'two points': (dict(segmentation=[POLYGON, [1, 2, 3, 4]]), 'has 4 numbers'),
    'an odd polygon': (dict(segmentation=[[*POLYGON, 1]]), 'has 7 numbers'),
    'a far polygon': (dict(segmentation=[[*POLYGON, 1e9, 1e9]]), r'reaches to 1e\+09'),
    'a far polygon to the left': (dict(segmentation=[[*POLYGON, -(10**30), 1]]), 'reaches to'),
    'NaN in a polygon': (dict(segmentation=[[*POLYGON, float('nan'), 1]]), 'no list of numbers'),
    'flat polygon': (dict(segmentation=POLYGON), 'no list of numbers'),
    'points': (dict(segmentation=[[[1, 1], [2, 2], [3, 3]]]), 'no list of numbers'),
    'text': (dict(segmentation='polygon'), 'must be polygons'),
    'huge run-length code': (dict(segmentation=dict(size=[10**6, 10**6], counts=[0, 10**12])), r'1000000.* \[20, 30\]'),
    'other size': (dict(segmentation=rle(size=[WIDTH, HEIGHT])), r'\[30, 20\], and the image \[20, 30\]'),
    'no size': (dict(segmentation=dict(counts=[600])), 'None'),
    'too few': (dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=[100, 499])), 'has 599 pixels, and the image 600'),
    'too many': (dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=[100, 2**32])), 'pixels, and the image 600'),
    'negative': (dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=[-100, 700])), 'cannot be decoded'),
    'no counts': (dict(segmentation=dict(size=[HEIGHT, WIDTH])), 'cannot be decoded'),
    'garbage': (dict(segmentation=rle(counts='\x7f ')), 'cannot be decoded'),
    'endless': (dict(segmentation=rle(counts='o' * 99)), 'cannot be decoded'),
    'broken off': (dict(segmentation=rle(counts='o')), 'cannot be decoded'),
}
BOXES = {
    'no box': (dict(bbox=None), 'bbox must be'),
    'NaN box': (dict(bbox=[0, 0, float('nan'), 2]), 'bbox must be'),
    'three numbers': (dict(bbox=[0, 0, 2]), 'bbox must be'),
    'negative width': (dict(bbox=[5, 5, -2, 3]), 'bbox must be'),
    'no area': (dict(area=None), 'area must be'),
    'area is text': (dict(area='32'), 'area must be'),
    'unknown image': (dict(image_id=99), 'image_id 99 is not among its images'),
    'image is a list': (dict(image_id=[3]), 'is not among its images'),
    'unknown category': (dict(category_id=99), 'category_id 99'),
    'iscrowd': (dict(iscrowd=2), 'iscrowd must be 0 or 1'),
}


@pytest.mark.parametrize('name', [*MASKS, *BOXES])
def test_annotations_that_are_none(tmp_path, name):
    changes, message = {**MASKS, **BOXES}[name]
    path = write(tmp_path / 'a.json', content(**changes))
    with pytest.raises(CocoFileError, match=message) as caught:
        read_coco(path, masks=True)
    assert str(caught.value).startswith(f'{path}: annotation 2: ') and '\n' not in str(caught.value)
    if name in MASKS:  # nobody looks at masks
        assert len(read_coco(path)['annotations']) == 2
    else:
        with pytest.raises(UserError, match=message):
            read_coco(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c['images'][1].pop('height'), 'image 4: height and width must be pixels, not None and 30'),
        (lambda c: c['images'][1].update(height=0), 'image 4: 30 x 0 is no size'),
        (lambda c: c['images'][1].update(height=10**6, width=10**6), 'image 4: 1000000 x 1000000 is no size'),
        (lambda c: c['images'][1].update(height='20'), "image 4: height and width must be pixels, not '20'"),
        (lambda c: c['images'][1].update(width=2.5), 'image 4: height and width must be pixels'),
        (lambda c: c['images'][1].update(id=3), 'image 3 is there twice'),
        (lambda c: c['images'][1].update(id='4'), 'of its image ids, some are numbers and some are texts'),
        (lambda c: c['annotations'][1].update(id=1), 'annotation 1 is there twice'),
        (lambda c: c['annotations'][1].pop('id'), 'annotation number 1 of the list has no id'),
        (lambda c: c['annotations'].append(None), 'annotation number 2 of the list has no id'),
        (lambda c: c['categories'].append(dict(id=7)), 'category 7 is there twice'),
        (lambda c: c.pop('annotations'), "has no list 'annotations'"),
        (lambda c: c.update(images={}), "has no list 'images'"),
    ],
)
def test_lists_that_are_none(tmp_path, change, message):
    changed = content()
    change(changed)
    path = write(tmp_path / 'a.json', changed)
    with pytest.raises(UserError, match=message) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f'{path}: ')


def test_images_alone_are_enough_where_a_server_has_the_truth(tmp_path):
    images = {key: value for key, value in content().items() if key != 'annotations'}
    assert read_coco(write(tmp_path / 'a.json', images), masks=True, truth=False) == dict(images, annotations=[])
    images['images'][1].update(height=0)
    with pytest.raises(UserError, match='image 4'):
        read_coco(write(tmp_path / 'a.json', images), truth=False)


@pytest.mark.parametrize('text', ['', '[1, 2]', '{"images": [', 'null', '[' * 100_000, '\x00\xff'])
def test_what_is_no_coco_file(tmp_path, text):
    path = write(tmp_path / 'a.json', text)
    with pytest.raises(UserError, match=r'a\.json: (not readable|has no list)'):
        read_coco(path)
    with pytest.raises(UserError, match='not found: .*b.json'):
        read_coco(str(tmp_path / 'b.json'))
    os.mkfifo(tmp_path / 'pipe.json')
    with pytest.raises(UserError, match=r'pipe\.json: not a regular file'):
        read_coco(str(tmp_path / 'pipe.json'))


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
def test_every_run_length_code_of_pycocotools_is_taken(mask):
    given = content(segmentation=rle(mask), image_id=4)
    given['images'][1].update(height=mask.shape[0], width=mask.shape[1])
    check_coco(given, 'a.json', masks=True)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_encodings_that_pycocotools_does_not_read(tmp_path, encoding):
    """Python's ``json`` reads the bytes; pycocotools ends in an error later."""
    path = tmp_path / 'a.json'
    path.write_text('{"images": [], "annotations": [], "categories": []}', encoding=encoding)
    with pytest.raises(UserError, match=r'a\.json: not readable as JSON'):
        read_coco(str(path))
