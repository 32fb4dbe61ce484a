"""Classes of the sample set. A class is a coat, two hues and a texture, that objects of any shape wear."""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

# Hues are fractions of a turn. The second hue of a class is the first hue of another class: one colour alone does not
# identify a class.
SECOND_HUE = 3 / 8
HUE_JITTER = 0.025


class Coat(NamedTuple):
    """Look of the objects of one class.

    Attributes:
        hue: First hue, from 0 to 1.
        texture: A key of ``TEXTURES``.
    """

    hue: float
    texture: str

    def draw_tones(self, rng: Generator) -> np.ndarray:
        """Return the two colours of one object, (2, 3) RGB from 0 to 1: strong and bright, the hues a little varied."""
        hues = np.array([self.hue, self.hue + SECOND_HUE]) + rng.uniform(-HUE_JITTER, HUE_JITTER, 2)
        saturations, values = rng.uniform(0.65, 1.0, 2), rng.uniform(0.6, 1.0, 2)
        return np.array([colorsys.hsv_to_rgb(*hsv) for hsv in zip(hues % 1.0, saturations, values)])


# In alphabetical order, because data sets that number classes by folder do so.
COATS = {
    'amber_stripes': Coat(1 / 8, 'stripes'),
    'azure_checks': Coat(5 / 8, 'checks'),
    'crimson_dots': Coat(0 / 8, 'dots'),
    'cyan_plain': Coat(4 / 8, 'plain'),
    'emerald_checks': Coat(3 / 8, 'checks'),
    'lime_stripes': Coat(2 / 8, 'stripes'),
    'magenta_plain': Coat(7 / 8, 'plain'),
    'violet_dots': Coat(6 / 8, 'dots'),
}
CLASSES = tuple(COATS)
PALETTE = [tuple(round(255 * tone) for tone in colorsys.hsv_to_rgb(coat.hue, 0.85, 0.9)) for coat in COATS.values()]

# The ``metainfo`` of data sets for classification and detection, and for segmentation, where 0 is the background.
METAINFO = dict(classes=CLASSES, palette=PALETTE)
SEGMENTATION_METAINFO = dict(classes=('background', *CLASSES), palette=[(0, 0, 0), *PALETTE])


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = u / 1.5 % 1 - 0.5, v / 1.5 % 1 - 0.5
    return u * u + v * v < 0.33**2


# name -> where the second tone is, (h, w) bool, from coordinates (h, w) in cells of the texture.
TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = dict(
    stripes=lambda u, v: np.floor(u) % 2 == 0,
    checks=lambda u, v: (np.floor(u) + np.floor(v)) % 2 == 0,
    dots=_dots,
    plain=lambda u, v: np.zeros_like(u, dtype=bool),
)
