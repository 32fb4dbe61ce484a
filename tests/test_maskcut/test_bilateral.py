"""The bilateral solver: against a dense system over pixels, and what it does to masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.crate.maskcut import bilateral as module
from projects.crate.maskcut.bilateral import bilateral_mask, solve


def picture(seed, height=24, width=40, edge=18):
    """A noisy image, dark left of ``edge`` and light right of it."""
    image = np.random.default_rng(seed).normal(60, 4, (height, width, 3))
    image[:, edge:] += 120
    return image.clip(0, 255).astype(np.uint8)


def dense_solution(target, image):
    """Minimum over pixels, with the bistochastic affinity of Barron & Poole written out as matrices."""
    height, width = target.shape
    place = []
    for row in range(height):
        for column in range(width):
            r, g, b = image[row, column].astype(float)
            luma = 0.299 * r + 0.587 * g + 0.114 * b
            u = -0.168736 * r - 0.331264 * g + 0.5 * b + 128
            v = 0.5 * r - 0.418688 * g - 0.081312 * b + 128
            place.append((column // 16, row // 16, int(luma // 16), int(u // 8), int(v // 8)))
    cells = sorted(set(place))
    splat = np.array([[float(one == cell) for one in place] for cell in cells])
    apart = np.abs(np.array(cells)[:, None] - np.array(cells)).sum(-1)
    blur = np.where(apart == 0, 10.0, np.where(apart == 1, 1.0, 0.0))
    m, n = splat.sum(1), np.ones(len(cells))
    for _ in range(10):
        n = np.sqrt(n * m / (blur @ n))
    affinity = splat.T @ np.diag(n / m) @ blur @ np.diag(n / m) @ splat  # of pixels; m by cells: pixels share a value
    sums = n * (blur @ n)
    system = 256 * (np.diag(sums) - np.diag(n) @ blur @ np.diag(n)) + 0.999 * np.diag(m)
    assert affinity.shape == (height * width,) * 2
    assert np.allclose(affinity, affinity.T)
    return (splat.T @ np.linalg.solve(system, splat @ (0.999 * target.ravel()))).reshape(target.shape)


@pytest.mark.parametrize('seed', [0, 1])
def test_it_solves_the_dense_system(seed, monkeypatch):
    monkeypatch.setattr(module, 'MAX_STEPS', 1000)
    monkeypatch.setattr(module, 'TOLERANCE', 1e-12)
    target = np.random.default_rng(seed + 9).random((20, 23))
    image = np.random.default_rng(seed).integers(60, 160, (20, 23, 3), dtype=np.uint8)
    np.testing.assert_allclose(solve(target, image), dense_solution(target, image), atol=1e-8)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_a_constant_target_stays_and_the_mean_is_kept(seed, height, width):
    """lambda (D_m - D_n B D_n) has the constant in its null space."""
    rng = np.random.default_rng(seed)
    image, target = rng.integers(0, 256, (height, width, 3), dtype=np.uint8), rng.random((height, width))
    np.testing.assert_allclose(solve(np.full((height, width), 0.7), image), 0.7, atol=1e-4)
    assert solve(target, image).mean() == pytest.approx(target.mean(), abs=1e-3)


def test_a_mask_moves_to_the_edge_of_the_colours():
    mask = np.zeros((24, 40), dtype=bool)
    mask[:, 21:] = True  # the light part begins at 18
    expected = np.zeros_like(mask)
    expected[:, 18:] = True
    assert np.array_equal(bilateral_mask(mask, picture(0)), expected)


def test_holes_are_filled_and_a_result_that_is_another_mask_is_dropped():
    mask = np.zeros((24, 40), dtype=bool)
    mask[:, 18:] = True
    mask[8:10, 30:32] = False
    assert bilateral_mask(mask, picture(0))[9, 31]
    speck = np.zeros((24, 40), dtype=bool)
    speck[3, 3] = True
    assert np.array_equal(bilateral_mask(speck, picture(0)), speck)
