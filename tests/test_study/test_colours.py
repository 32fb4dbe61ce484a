"""Colours of the figures, as readers see them who lack one kind of cones (Machado et al. 2009, severity 1)."""

import matplotlib
import numpy as np
import pytest

from projects.crate.study import attention, masks
from projects.crate.study.curves import CYCLE, curve_figure

color = pytest.importorskip('skimage.color')

SEEN = dict(
    all_cones=np.eye(3),
    protanopia=[[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    deuteranopia=[[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    tritanopia=[[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
)
CLEAR = 10  # CIEDE2000; 1 to 2 can just be told apart

every_eye = pytest.mark.parametrize('eye', SEEN)


def seen_by(eye, colours):
    """sRGB (n, 3) from 0 to 1 -> CIELAB as the eye sees it."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4) @ np.transpose(SEEN[eye])
    linear = linear.clip(0, 1)
    return color.rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def least_difference(eye, colours):
    lab = seen_by(eye, np.asarray(colours))
    return min(color.deltaE_ciede2000(lab[i], lab[j]) for i in range(len(lab)) for j in range(i))


@every_eye
def test_masks_can_be_told_apart(eye):
    assert least_difference(eye, masks.COLOURS / 255) > CLEAR


@every_eye
def test_curves_can_be_told_apart(eye):
    figure = curve_figure({str(number): ([0, 1], [number, number]) for number in range(7)}, 'x', 'y')
    drawn = [container[0].get_color() for container in figure.axes[0].containers]
    assert drawn == CYCLE.by_key()['color'][:7]
    assert least_difference(eye, [matplotlib.colors.to_rgb(each) for each in drawn]) > CLEAR


@every_eye
def test_brighter_is_more_attention(eye):
    lightness = seen_by(eye, matplotlib.colormaps[attention.COLOURS](np.linspace(0, 1, 64))[:, :3])[:, 0]
    assert (np.diff(lightness) > 0).all() and np.ptp(lightness) > 90
