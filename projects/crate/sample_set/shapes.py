"""Outlines of the sample set's objects: each fits the unit circle and returns which points lie inside."""

from collections.abc import Callable
from functools import partial

import numpy as np


def _fold(u: np.ndarray, v: np.ndarray, corners: int) -> tuple[np.ndarray, np.ndarray]:
    """Return polar coordinates, the angle folded to [0, pi / corners]: from a corner to halfway between two corners."""
    sector = 2 * np.pi / corners
    angle = np.abs((np.arctan2(v, u) + sector / 2) % sector - sector / 2)
    return np.hypot(u, v), angle


def _polygon(u: np.ndarray, v: np.ndarray, corners: int) -> np.ndarray:
    radius, angle = _fold(u, v, corners)
    return radius * np.cos(np.pi / corners - angle) <= np.cos(np.pi / corners)


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u * u + v * v <= 1


def _star(u: np.ndarray, v: np.ndarray, corners: int = 5, waist: float = 0.5) -> np.ndarray:
    """Return the points inside the line from a tip at radius 1 to the notch beside it at radius ``waist``."""
    radius, angle = _fold(u, v, corners)
    notch_u, notch_v = waist * np.cos(np.pi / corners), waist * np.sin(np.pi / corners)
    return notch_v * (radius * np.cos(angle) - 1) + (1 - notch_u) * radius * np.sin(angle) <= 0


def _bar(u: np.ndarray, v: np.ndarray, half_width: float = 0.33) -> np.ndarray:
    return (np.abs(v) <= half_width) & (np.abs(u) <= np.sqrt(1 - half_width**2))


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _bar(u, v) | _bar(v, u)


def _ring(u: np.ndarray, v: np.ndarray, hole: float = 0.5) -> np.ndarray:
    return _disc(u, v) & ~_disc(u / hole, v / hole)


def _crescent(u: np.ndarray, v: np.ndarray, bite: float = 0.8, shift: float = 0.6) -> np.ndarray:
    return _disc(u, v) & ~_disc((u - shift) / bite, v / bite)


# name -> (h, w) bool from coordinates (h, w) in radii.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = dict(
    disc=_disc,
    square=partial(_polygon, corners=4),
    triangle=partial(_polygon, corners=3),
    star=_star,
    cross=_cross,
    ring=_ring,
    crescent=_crescent,
    bar=_bar,
)
