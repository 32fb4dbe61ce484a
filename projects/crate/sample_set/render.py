"""One image of the sample set from one random generator, with the mask of every object."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image

from ..errors import ArgumentError
from .coats import CLASSES, COATS, TEXTURES
from .shapes import SHAPES

# Everything is drawn at this multiple of the resolution and averaged. It is odd: the centre of each pixel is then one
# of the points drawn, and a mask is the pixels whose centre the object owns.
SUPERSAMPLING = 3
MIN_SIDE = 16  # at the smallest scale, every shape still owns the centre of a pixel


class Sample(NamedTuple):
    """A rendered image and its n objects.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        masks: (n, H, W) bool, the visible part of each object: disjoint, none empty.
        labels: (n,) int64, indices into ``METAINFO['classes']``.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray


class _Figure(NamedTuple):
    """A textured shape, not yet painted: its window of the supersampled canvas, its points there, and their colours."""

    window: tuple[slice, slice]
    inside: np.ndarray  # (h, w) bool
    colours: np.ndarray  # (h, w, 3)


def render_image(
    rng: Generator,
    labels: Sequence[int],
    size: tuple[int, int] = (48, 48),
    scale: tuple[float, float] = (0.3, 0.7),
    max_distractors: int = 2,
    min_visible: float = 0.4,
) -> Sample:
    """Draw objects with the coats of their classes before grey distractors, smooth noise and pixel noise.

    The shape, place, size and angle of an object do not depend on its class. Later objects occlude earlier ones. An
    object of which too little would show is not drawn, so that every coat in the image is annotated. The last object
    always shows.

    Args:
        rng: Generator; the image is a function of it and of the other arguments.
        labels: Class of each object, from back to front; n >= 1 of them.
        size: (height, width) in pixels, each at least 16.
        scale: Smallest and largest diameter of an object, as fractions of the shorter side; at most 1, so that the
            object lies in the image.
        max_distractors: Largest number of grey textured shapes behind the objects.
        min_visible: Smallest visible share of an object's pixels.

    Returns:
        The image, and mask and label of every object in it, from back to front.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """
    _check(labels, size, scale, min_visible)
    coats = [COATS[CLASSES[label]] for label in labels]
    figures = [_draw_figure(rng, size, scale, coat.draw_tones(rng), coat.texture) for coat in coats]
    canvas = _draw_background(rng, size)
    free = np.ones(canvas.shape[:2], dtype=bool)
    masks = {index: _place(canvas, free, figures[index], min_visible) for index in reversed(range(len(labels)))}
    for _ in range(rng.integers(max_distractors + 1)):
        texture = rng.choice(list(TEXTURES))
        greys = np.repeat(rng.uniform(0.1, 0.9, (2, 1)), 3, axis=1)
        _place(canvas, free, _draw_figure(rng, size, scale, greys, texture), min_visible=0.0)
    shown = [index for index in range(len(labels)) if masks[index] is not None]
    image = _develop(rng, canvas)
    return Sample(image, np.stack([masks[i] for i in shown]), np.array([labels[i] for i in shown], dtype=np.int64))


def _check(labels: Sequence[int], size: tuple[int, int], scale: tuple[float, float], min_visible: float) -> None:
    if len(labels) == 0 or not all(0 <= label < len(CLASSES) for label in labels):
        raise ArgumentError(f'labels: at least one, each from 0 to {len(CLASSES) - 1}; not {list(labels)}')
    if min(size) < MIN_SIDE:
        raise ArgumentError(f'size: height and width are at least {MIN_SIDE} pixels; not {tuple(size)}')
    if not 0.25 <= scale[0] <= scale[1] <= 1:
        raise ArgumentError(f'scale: two diameters from 0.25 to 1 of the shorter side, in order; not {tuple(scale)}')
    if not 0 <= min_visible <= 1:
        raise ArgumentError(f'min_visible: a share from 0 to 1; not {min_visible}')


def _draw_figure(
    rng: Generator, size: tuple[int, int], scale: tuple[float, float], tones: np.ndarray, texture: str
) -> _Figure:
    """Draw a shape at a random place, size and angle, lit from one side, its texture cells 6% to 10% of the side."""
    radius = rng.uniform(*scale) * min(size) / 2
    cell = rng.uniform(0.06, 0.10) * min(size)
    centre = [rng.uniform(radius, extent - radius) for extent in size]
    phase_u, phase_v = rng.uniform(0, 2, 2)
    shape = SHAPES[rng.choice(list(SHAPES))]
    angle = rng.uniform(0, 2 * np.pi)

    spans = [
        (max(0, int((c - radius) * SUPERSAMPLING)), min(e * SUPERSAMPLING, int((c + radius) * SUPERSAMPLING) + 1))
        for c, e in zip(centre, size)
    ]
    y, x = (((np.arange(*span) + 0.5) / SUPERSAMPLING - c).astype(np.float32) for span, c in zip(spans, centre))
    u, v = _rotate(x[None, :], y[:, None], angle)
    inside = shape(u / radius, v / radius)
    second = TEXTURES[texture](u / cell + phase_u, v / cell + phase_v)
    light = 1 + 0.2 * u / radius
    window = tuple(slice(*span) for span in spans)
    return _Figure(window, inside, tones.astype(np.float32)[second.astype(int)] * light[..., None])


def _rotate(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _place(canvas: np.ndarray, free: np.ndarray, figure: _Figure, min_visible: float) -> np.ndarray | None:
    """Paint a figure behind the others, if at least the share ``min_visible`` of its pixels shows.

    Args:
        canvas: (sH, sW, 3), changed in place; s = ``SUPERSAMPLING``.
        free: (sH, sW) bool, where nothing is yet; changed in place.
        figure: Figure to paint.
        min_visible: Smallest visible share.

    Returns:
        Its visible pixels (H, W) bool, or None if it was not painted.
    """
    whole = np.zeros_like(free)
    whole[figure.window] = figure.inside
    visible = whole & free
    mask = _centres(visible)
    if mask.sum() < max(min_visible * _centres(whole).sum(), 1):
        return None
    part = visible[figure.window]
    canvas[figure.window][part] = figure.colours[part]
    free &= ~visible
    return mask


def _centres(points: np.ndarray) -> np.ndarray:
    """Return the points at the centres of the pixels: (sH, sW) -> (H, W)."""
    middle = SUPERSAMPLING // 2
    return points[middle::SUPERSAMPLING, middle::SUPERSAMPLING].copy()


def _draw_background(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Return smooth noise of little colour in two octaves, (sH, sW, 3)."""
    base = rng.uniform(0.35, 0.65)
    grey = 0.30 * _smooth_noise(rng, size, 4, 1) + 0.15 * _smooth_noise(rng, size, 10, 1)
    tint = rng.uniform(0.02, 0.12) * _smooth_noise(rng, size, 4, 3)
    noise = (base + grey + tint).astype(np.float32)
    return noise.repeat(SUPERSAMPLING, axis=0).repeat(SUPERSAMPLING, axis=1)


def _smooth_noise(rng: Generator, size: tuple[int, int], cells: int, channels: int) -> np.ndarray:
    """Return uniform noise from -1 to 1, with ``cells`` on the shorter side, interpolated to (H, W, channels)."""
    grid = [round(cells * extent / min(size)) for extent in size]
    planes = rng.uniform(-1, 1, (channels, *grid)).astype(np.float32)
    resized = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized], axis=-1)


def _develop(rng: Generator, canvas: np.ndarray) -> np.ndarray:
    """Average the supersampled points, add pixel noise, and quantise: (sH, sW, 3) from 0 to 1 -> (H, W, 3) uint8."""
    steps = range(SUPERSAMPLING)
    # One strided sum per point of a pixel is several times faster than a mean over two of five axes.
    image = sum(canvas[i::SUPERSAMPLING, j::SUPERSAMPLING] for i in steps for j in steps) / SUPERSAMPLING**2
    image += rng.uniform(0.02, 0.06) * rng.standard_normal(image.shape, dtype=np.float32)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)
