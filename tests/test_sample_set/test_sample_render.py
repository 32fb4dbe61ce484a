import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.crate.sample_set.coats import COATS, METAINFO, SEGMENTATION_METAINFO, TEXTURES
from projects.crate.sample_set.render import render_image
from projects.crate.sample_set.shapes import SHAPES

CLASSES = METAINFO['classes']
sides = st.integers(16, 60)
label_lists = st.lists(st.integers(0, len(CLASSES) - 1), min_size=1, max_size=5)


def render(seed, labels, **arguments):
    return render_image(np.random.default_rng(seed), labels, **arguments)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), labels=label_lists, height=sides, width=sides)
def test_masks_are_disjoint_and_not_empty_and_belong_to_the_labels(seed, labels, height, width):
    image, masks, shown = render(seed, labels, size=(height, width))
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert masks.shape == (len(shown), height, width) and masks.dtype == bool
    assert masks.any(axis=(1, 2)).all()
    assert masks.sum(axis=0).max() == 1
    remaining = iter(labels)
    assert all(label in remaining for label in shown)  # a subsequence: occlusion drops objects and keeps their order
    assert shown[-1] == labels[-1]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), label=st.integers(0, len(CLASSES) - 1), height=sides, width=sides)
def test_a_lone_object_lies_within_the_image_at_the_scale_asked_for(seed, label, height, width):
    mask = render(seed, [label], size=(height, width), scale=(0.4, 0.5)).masks[0]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    diameter = 0.5 * min(height, width) + 1
    assert rows[-1] - rows[0] < diameter and columns[-1] - columns[0] < diameter
    largest = np.hypot(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    assert largest > 0.7 * 0.4 * min(height, width)
    chord = 2 * np.sqrt(diameter / 2) + 1  # the most that a circle within the image has on the outermost row or column
    assert max(edge.sum() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])) <= chord


@pytest.mark.parametrize('shape', SHAPES)
def test_every_shape_fits_the_unit_circle_and_owns_a_share_of_it(shape):
    v, u = np.mgrid[-1.2:1.2:241j, -1.2:1.2:241j]
    inside = SHAPES[shape](u, v)
    radius = np.hypot(u, v)
    assert not inside[radius > 1.0001].any()
    assert radius[inside].max() > 0.97  # it fills the circle as far as its form allows: scales are comparable
    assert 0.3 < inside.sum() / (radius <= 1).sum() <= 1


def test_shapes_have_the_areas_of_geometry():
    v, u = np.mgrid[-1:1:801j, -1:1:801j]
    area = {name: shape(u, v).sum() / 400**2 for name, shape in SHAPES.items()}
    tip, notch = np.array([1, 0]), 0.5 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    expected = dict(
        disc=np.pi,
        square=2,
        triangle=3 * np.sqrt(3) / 4,
        ring=0.75 * np.pi,
        star=10 * 0.5 * (tip[0] * notch[1] - tip[1] * notch[0]),
        bar=4 * 0.33 * np.sqrt(1 - 0.33**2),
        cross=8 * 0.33 * np.sqrt(1 - 0.33**2) - 4 * 0.33**2,
    )
    for name, value in expected.items():
        assert area[name] == pytest.approx(value, rel=0.01), name


@pytest.mark.parametrize('texture, share', [('stripes', 0.5), ('checks', 0.5), ('plain', 0), ('dots', np.pi * 0.33**2)])
def test_share_of_the_second_tone(texture, share):
    v, u = np.mgrid[0:6:600j, 0:6:600j]
    assert TEXTURES[texture](u, v).mean() == pytest.approx(share, abs=0.01)


def test_objects_wear_the_hues_of_their_class_and_distractors_are_grey():
    """Away from its edges, an object shows no other hue than its class's two, and nothing but objects is colourful."""
    for seed in range(40):
        label = seed % len(CLASSES)
        image, (mask,), _ = render(seed, [label], size=(64, 64), scale=(0.6, 0.9))
        coat = COATS[CLASSES[label]]
        inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
        hues = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in image[inner] / 255])
        first, second = (np.abs((hues - hue + 0.5) % 1 - 0.5) < 0.07 for hue in (coat.hue, coat.hue + 3 / 8))
        assert np.mean(first | second) > (0.9 if coat.texture == 'plain' else 0.65)
        assert np.mean(second) < 0.05 if coat.texture == 'plain' else np.mean(second) > 0.05
        saturation = np.ptp(image.astype(int), axis=-1) / 255
        edge = np.zeros_like(mask)
        for shift in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)):
            edge |= np.roll(mask, shift, (0, 1))
        assert saturation[~mask & ~edge].mean() < 0.5 * saturation[inner].mean()


def test_distractors_appear_and_leave_the_masks_alone():
    differing = 0
    for seed in range(20):
        plain = render(seed, [seed % 8], max_distractors=0)
        cluttered = render(seed, [seed % 8], max_distractors=3)
        assert np.array_equal(plain.masks, cluttered.masks)
        changed = np.abs(plain.image.astype(int) - cluttered.image).max(-1) > 60
        if changed.mean() > 0.02:
            differing += 1
            assert np.median(np.ptp(cluttered.image[changed].astype(int), axis=-1)) < 60  # grey, up to the pixel noise
    assert differing >= 8


def test_later_objects_occlude_earlier_ones():
    """The front mask is whole and cyan throughout; the amber one behind it may have lost pixels."""
    occluded = 0
    for seed in range(30):
        sample = render(seed, [0, 3], scale=(0.7, 0.9), min_visible=0.0)
        only_whole = render(seed, [0, 3], scale=(0.7, 0.9), min_visible=1.0)
        assert np.array_equal(sample.masks[-1], only_whole.masks[-1])
        red, green, blue = sample.image[sample.masks[-1]].mean(0)
        assert min(green, blue) > red + 40
        occluded += len(sample.labels) > len(only_whole.labels)
        if len(only_whole.labels) == 2:
            assert np.array_equal(sample.masks, only_whole.masks)
    assert occluded > 5


def test_objects_that_would_hardly_show_are_left_out_of_image_and_result():
    """Magenta behind cyan of nearly the image's size: where it is not annotated, no magenta shows."""
    left_out = 0
    for seed in range(40):
        sample = render(seed, [6, 3], scale=(0.85, 1.0), max_distractors=0, min_visible=0.5)
        if len(sample.labels) == 1:
            left_out += 1
            red, green, blue = (sample.image[..., channel].astype(int) for channel in range(3))
            assert np.mean((red - green > 90) & (blue - green > 60)) < 0.01
    assert left_out > 5


def test_same_generator_same_image():
    one, other = render(3, [1, 2], size=(40, 56)), render(3, [1, 2], size=(40, 56))
    assert all(np.array_equal(a, b) for a, b in zip(one, other))
    assert not np.array_equal(one.image, render(4, [1, 2], size=(40, 56)).image)


@pytest.mark.parametrize(
    'arguments, name',
    [
        (dict(labels=[]), 'labels'),
        (dict(labels=[8]), 'labels'),
        (dict(labels=[-1]), 'labels'),
        (dict(labels=[0], size=(48, 15)), 'size'),
        (dict(labels=[0], scale=(0.1, 0.5)), 'scale'),
        (dict(labels=[0], scale=(0.5, 1.1)), 'scale'),
        (dict(labels=[0], scale=(0.6, 0.5)), 'scale'),
        (dict(labels=[0], min_visible=1.5), 'min_visible'),
    ],
)
def test_arguments_out_of_range_are_named(arguments, name):
    with pytest.raises(ValueError, match=f'^{name}: '):
        render_image(np.random.default_rng(0), **arguments)


def test_metainfo_numbers_classes_as_folders_are_numbered():
    assert list(CLASSES) == sorted(CLASSES) and len(CLASSES) == len(METAINFO['palette']) == 8
    assert len(set(METAINFO['palette'])) == 8
    assert SEGMENTATION_METAINFO['classes'] == ('background', *CLASSES)
    assert SEGMENTATION_METAINFO['palette'][1:] == METAINFO['palette']
    assert {coat.texture for coat in COATS.values()} == set(TEXTURES)
