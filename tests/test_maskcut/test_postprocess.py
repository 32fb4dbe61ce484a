import builtins

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage

from projects.crate.coco import coco_annotation
from projects.crate.maskcut.postprocess import dense_crf, image_masks, refine, resize, tight_box, upsample


def rng(seed=0):
    return np.random.default_rng(seed)


def two_colours(height=32, width=48, edge=24):
    """A noisy image, dark left of ``edge`` and light right of it."""
    image = rng().normal(60, 4, (height, width, 3))
    image[:, edge:] += 120
    return image.clip(0, 255).astype(np.uint8)


def right_of(column, height=32, width=48):
    mask = np.zeros((height, width), dtype=bool)
    mask[:, column:] = True
    return mask


def test_upsampling_is_nearest_neighbour():
    masks = rng().random((3, 4, 6)) < 0.5
    expected = F.interpolate(torch.from_numpy(masks)[None].float(), size=(20, 18), mode='nearest')[0].bool()
    assert np.array_equal(upsample(masks, (5, 3), (20, 18)), expected.numpy())


def test_a_part_of_a_patch_is_cut_and_not_stretched():
    masks = rng().random((2, 3, 4)) < 0.5
    whole = upsample(masks, (4, 4), (12, 16))
    assert np.array_equal(upsample(masks, (4, 4), (9, 14)), whole[:, :9, :14])


@pytest.mark.parametrize('size', [(7, 5), (12, 16), (40, 90)])
def test_resizing_is_pil_bicubic_at_half_of_the_maximum(size):
    mask = rng().random((12, 16)) < 0.4
    values = np.array(Image.fromarray(np.uint8(mask * 255)).resize(size[::-1])).astype(float)
    resized = resize(mask, size)
    assert resized.shape == size
    assert np.array_equal(resized, values > values.max() / 2)
    if size == mask.shape:
        assert np.array_equal(resized, mask)


def test_the_threshold_follows_the_maximum():
    """A line that becomes thinner than a pixel is kept, as in the reference; a threshold of 127 would lose it."""
    line = np.zeros((40, 40), dtype=bool)
    line[22] = True
    assert resize(line, (10, 10)).any(1).tolist() == [row == 5 for row in range(10)]


def test_tight_box_is_the_box_of_coco():
    for seed in range(20):
        mask = np.zeros((9, 14), dtype=bool)
        top, left = rng(seed).integers(0, (9, 14))
        mask[top : top + 1 + seed % 4, left : left + 1 + seed % 5] = rng(seed).random() > 0.1
        mask[top, left] = mask[min(top + 3, 8), min(left + 5, 13)] = True
        x, y, width, height = coco_annotation(mask, 0)['bbox']
        assert tight_box(mask) == (x, y, x + width, y + height)
        assert coco_mask.area(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))) == mask.sum()


def test_masks_of_a_non_square_image():
    masks = np.zeros((3, 3, 4), dtype=bool)
    masks[0, 0, 1], masks[2, 1:, 2:] = True, True
    found = image_masks(masks, (4, 4), (12, 16), (24, 48))
    assert found.shape == (2, 24, 48) and found.dtype == bool
    assert [tight_box(mask) for mask in found] == [(12, 0, 24, 8), (24, 8, 48, 24)]


def test_no_masks():
    assert image_masks(np.zeros((3, 2, 2), dtype=bool), (4, 4), (8, 8), (30, 20)).shape == (0, 30, 20)


def test_empty_masks_cost_no_crf(monkeypatch):
    monkeypatch.delattr('projects.crate.maskcut.postprocess.dense_crf')
    assert len(image_masks(np.zeros((3, 2, 2), dtype=bool), (4, 4), (8, 8), (8, 8), two_colours(8, 8))) == 0


def test_a_mask_in_the_padding_alone_is_none():
    masks = np.zeros((1, 2, 2), dtype=bool)
    masks[0, 1, 1] = True
    assert len(image_masks(masks, (4, 4), (5, 5), (5, 5))) == 1
    assert len(image_masks(masks, (4, 4), (4, 4), (4, 4))) == 0


def test_crf_moves_a_mask_to_the_edge_of_the_colours():
    """Up to a few pixels: the library approximates its filters."""
    refined = dense_crf(right_of(20), two_colours())
    assert (refined != right_of(24)).sum() <= 4
    assert np.array_equal(refine(right_of(20), two_colours()), refined)


def test_crf_has_the_settings_of_the_paper():
    from pydensecrf import densecrf

    height, width = 40, 56
    patches = ndimage.gaussian_filter(rng(1).normal(size=(height, width, 3)), (2, 2, 0))
    image = (200 * patches + rng(2).normal(128, 10, patches.shape)).clip(0, 255).astype(np.uint8)
    mask = ndimage.gaussian_filter(rng(3).normal(size=(height, width)), 1) > 0

    def by_hand(iterations=10, sxy=3, compat=7, far=50, srgb=5, weight=10, scale=1.0):
        odds = np.where(mask, 1.0, -1.0) * scale  # of softmax((1 - m, m))
        probability = 1 / (1 + np.exp(-odds))
        energy = -np.log(np.stack([1 - probability, probability])).reshape(2, -1).astype(np.float32)
        crf = densecrf.DenseCRF2D(width, height, 2)
        crf.setUnaryEnergy(energy)
        crf.addPairwiseGaussian(sxy=sxy, compat=compat)
        crf.addPairwiseBilateral(sxy=far, srgb=srgb, rgbim=image, compat=weight)
        background, front = np.array(crf.inference(iterations)).reshape(2, height, width)
        return front > background

    assert np.array_equal(dense_crf(mask, image), by_hand())
    changes = dict(iterations=9, sxy=2, compat=6, far=40, srgb=6, weight=9, scale=2.0)
    for name, value in changes.items():
        assert not np.array_equal(by_hand(), by_hand(**{name: value})), name


def test_holes_are_filled():
    image = two_colours()
    image[12:20, 32:40] = 60  # a dark spot in the light part
    ring = right_of(24)
    ring[12:20, 32:40] = False
    assert not dense_crf(ring, image)[16, 36]
    assert refine(ring, image)[16, 36]


def test_a_mask_that_changed_beyond_recognition_is_dropped():
    speck = np.zeros((32, 48), dtype=bool)
    speck[10:13, 10:13] = True  # no colour of its own: swallowed
    assert not dense_crf(speck, two_colours()).any()
    assert not refine(speck, two_colours()).any()
    assert image_masks(speck[None], (1, 1), (32, 48), (20, 30)).any()
    assert image_masks(speck[None], (1, 1), (32, 48), (20, 30), two_colours()).shape == (0, 20, 30)


def _iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_half_the_mask_is_enough(monkeypatch):
    """IoU 0.5 stays, less is dropped; compared after the holes are filled."""
    mask = right_of(24)

    def refined_to(result):
        monkeypatch.setattr('projects.crate.maskcut.postprocess.dense_crf', lambda *_: result)
        return refine(mask, two_colours())

    half, less = right_of(36), right_of(36)
    less[0, -1] = False
    assert np.array_equal(refined_to(half), half)
    assert not refined_to(less).any()
    frame = right_of(24)
    frame[1:-1, 25:-1] = False
    assert _iou(mask, frame) < 0.5
    assert np.array_equal(refined_to(frame), mask)


def test_refined_masks_use_the_image_without_its_padding():
    image = np.zeros((40, 56, 3), dtype=np.uint8)
    image[:32, :48] = two_colours()
    token_mask = right_of(5, 8, 12)[None]
    found = image_masks(token_mask, (4, 4), (32, 48), (32, 48), image)
    assert np.array_equal(found[0], refine(right_of(20), two_colours()))


def test_without_the_extra_the_remedy_is_one_line(monkeypatch):
    load = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith('pydensecrf'):
            raise ImportError(f'No module named {name!r}')
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', missing)
    with pytest.raises(ImportError, match=r"crf=True.* pip install pydensecrf2, .* extra 'crf'") as error:
        refine(right_of(20), two_colours())
    assert '\n' not in str(error.value)
