"""Objects of another image, made smaller and pasted: pixels, masks, boxes and what they cover."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import TRANSFORMS

pytest.importorskip('mmdet')
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

import projects.crate  # noqa: F401  (registers)

HOST, GUEST = 50, 200  # grey levels of the two images


def image(level, height, width, boxes):
    """An image of one grey level with rectangular objects, as the loading transforms leave it."""
    masks = np.zeros((len(boxes), height, width), dtype=np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1:y2, x1:x2] = 1
    return dict(
        img=np.full((height, width, 3), level, dtype=np.uint8),
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.full(len(boxes), level),
        gt_ignore_flags=np.zeros(len(boxes), dtype=bool),
        gt_masks=BitmapMasks(masks, height, width),
    )


@st.composite
def images(draw, level, fewest=0):
    """Up to three objects in an image of up to 40 x 40."""
    height, width = draw(st.integers(8, 40)), draw(st.integers(8, 40))
    boxes = []
    for _ in range(draw(st.integers(fewest, 3))):
        x, y = draw(st.integers(0, width - 3)), draw(st.integers(0, height - 3))
        boxes.append((x, y, draw(st.integers(x + 2, width)), draw(st.integers(y + 2, height))))
    return image(level, height, width, boxes)


def paste(host, guest, seed=0, **options):
    np.random.seed(seed)
    transform = TRANSFORMS.build(dict(type='ScaledCopyPaste', **options))
    return transform(dict(host, mix_results=[guest]))


@settings(max_examples=30)
@given(images(HOST), images(GUEST), st.integers(0, 99))
def test_pixels_masks_and_boxes_agree(host, guest, seed):
    size, before = host['img'].shape, host['gt_masks'].masks.copy()
    found = paste(host, guest, seed)
    masks, labels = found['gt_masks'].masks.astype(bool), found['gt_bboxes_labels']
    assert found['img'].shape == size and found['img'].dtype == np.uint8
    assert masks.shape == (len(labels), *size[:2]) and len(found['gt_ignore_flags']) == len(labels)
    pasted = masks[labels == GUEST].any(0) if len(masks) else np.zeros(size[:2], bool)
    assert ((found['img'] == GUEST).all(-1) == pasted).all()  # exactly the pasted objects are of the other image
    assert ((found['img'] == HOST).all(-1) == ~pasted).all()
    assert masks.any((1, 2)).all()
    for mask, box in zip(masks, found['gt_bboxes'].tensor.tolist()):
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    rest = [mask & ~pasted for mask in before.astype(bool)]  # what is left of the objects of this image
    assert all(any((mask == one).all() for one in rest) for mask in masks[labels == HOST])


def test_scale_is_that_of_the_range_and_objects_are_a_random_number():
    sides, numbers = [], set()
    for seed in range(100):
        host, guest = image(HOST, 40, 60, []), image(GUEST, 80, 120, [(0, 0, 120, 80), (0, 0, 120, 80)])
        found = paste(host, guest, seed, scale_range=(0.5, 0.75))
        numbers.add(len(found['gt_bboxes_labels']))
        sides += (found['gt_bboxes'].tensor[:, 2] - found['gt_bboxes'].tensor[:, 0]).tolist()
    assert numbers == {0, 1, 2}
    assert min(sides) == 30 and max(sides) == 44  # 60 x 0.5 and, rounded down, just below 60 x 0.75


def test_a_covered_object_is_gone():
    found = [
        paste(image(HOST, 20, 20, [(12, 12, 18, 18)]), image(GUEST, 20, 20, [(0, 0, 20, 20)]), seed, scale_range=(1, 1))
        for seed in range(20)
    ]
    assert {tuple(one['gt_bboxes_labels']) for one in found} == {(HOST,), (GUEST,)}


@pytest.mark.parametrize('scale_range', [(0, 1), (0.5, 1.5), (0.9, 0.3)])
def test_a_range_that_is_none(scale_range):
    with pytest.raises(ValueError, match='scale_range must ascend'):
        TRANSFORMS.build(dict(type='ScaledCopyPaste', scale_range=scale_range))
