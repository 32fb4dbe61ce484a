import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from projects.crate.study.pca import components, first_components, remove_background, to_unit


def scene():
    """Two images, (4, 5) and (3, 6): a background that points to -e0, two parts of an object that point to e0 and more.

    Returns the features and, per image, what is background (0), first part (1) or second part (2).
    """
    labels = [np.zeros((4, 5), int), np.zeros((3, 6), int)]
    labels[0][1:3, 1:3], labels[0][1:3, 3] = 1, 2
    labels[1][1, 2], labels[1][1, 3:5] = 1, 2
    directions = np.array([[-5.0, 0, 0, 0], [20, 3, 0, 0], [20, -3, 0, 0]])
    return [directions[grid] for grid in labels], labels


def reference(patches, number):
    """By a singular value decomposition; columns up to their sign."""
    left, values, _ = np.linalg.svd(patches, full_matrices=False)
    return left[:, :number] * values[:number]


@pytest.mark.parametrize('seed', range(3))
def test_components_are_those_of_a_singular_value_decomposition(seed):
    patches = np.random.default_rng(seed).standard_normal((50, 7)).astype(np.float32) + 0.5
    found, expected = components(patches, 4), reference(patches.astype(float), 4)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-6, atol=1e-8)
    peaks = np.abs(found).argmax(0)
    assert (found[peaks, range(4)] > 0).all()
    np.testing.assert_allclose(found.T @ found, np.diag((found**2).sum(0)), atol=1e-8)


def test_parts_of_an_object_get_their_colours_in_all_images():
    features, labels = scene()
    found = remove_background(features, threshold=12)
    for grid, mask, colour, projection in zip(labels, found.masks, found.colours, found.projections):
        np.testing.assert_array_equal(mask, grid > 0)
        assert (colour[grid == 0] == 0).all()
        # component 1: both parts alike; component 2: what tells them apart; there is no third
        np.testing.assert_allclose(colour[grid == 1][:, [0, 2]], [[1, 0]] * (grid == 1).sum(), atol=0.02)
        assert (projection[grid == 0] < 0).all() and (projection[grid > 0] > 19).all()
    greens = [np.unique(colour[grid == part][:, 1]) for part in (1, 2) for grid, colour in zip(labels, found.colours)]
    assert sorted(np.concatenate(greens)) == [0, 0, 1, 1]


def test_the_background_has_no_part_in_the_colours():
    features, labels = scene()
    expected = remove_background(features).colours
    for values, grid in zip(features, labels):
        values[..., 3] = np.where(grid == 0, 8 * (-1) ** np.arange(grid.size).reshape(grid.shape), 0)
    for colour, other in zip(remove_background(features).colours, expected):
        np.testing.assert_allclose(colour, other, atol=0.02)


def test_only_what_reaches_the_threshold_is_left():
    features, labels = scene()
    features[0][1, 1] /= 2  # projects by about 10
    masks = remove_background(features, threshold=12).masks
    assert not masks[0][1, 1] and masks[0].sum() == (labels[0] > 0).sum() - 1
    assert remove_background(features, threshold=9).masks[0][1, 1]
    assert remove_background(features, threshold=-100).masks[0].sum() == (labels[0] > 0).sum()


def test_the_corners_are_background_whatever_the_sign():
    """Also where the background is what stands out most; unless nothing else reaches the threshold, or it is told."""
    features, labels = scene()
    strong = [np.where((grid == 0)[..., None], -30.0 * np.eye(4)[0], values) for values, grid in zip(features, labels)]
    for sign in (1, -1):
        signed = [sign * values for values in strong]
        for expected, options in (([1, 2], {}), ([0], dict(threshold=25)), ([0], dict(flip=True))):
            found = remove_background(signed, **options)
            for mask, grid in zip(found.masks, labels):
                np.testing.assert_array_equal(mask, np.isin(grid, expected))


def test_a_threshold_that_nothing_reaches_is_an_error():
    features, _ = scene()
    with pytest.raises(ValueError, match=r'^no patch has a projection of 25 .* the largest is 20: lower the threshold'):
        remove_background(features, threshold=25)
    with pytest.raises(ValueError, match=r'the largest is 5: lower the threshold'):
        remove_background(features, threshold=12, flip=True)
    with pytest.raises(ValueError, match=r'the largest is 0'):
        remove_background([np.zeros((3, 4, 5))])


def test_features_that_are_no_numbers_are_refused():
    features, _ = scene()
    features[1][0, 0, 0] = np.nan
    for function in (remove_background, first_components):
        with pytest.raises(ValueError, match='^the features hold NaN or inf'):
            function(features)


def test_a_single_patch_is_red():
    features = [np.zeros((3, 4, 2))]
    features[0][1, 2] = [8, 9]
    [colour] = remove_background(features, threshold=12).colours
    assert colour[1, 2].tolist() == [1, 0, 0] and colour.sum() == 1


def test_layers_show_the_first_four_components():
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((h, w, 6)) + 1 for h, w in ((4, 5), (3, 6))]
    grey, colours = first_components(features)
    assert [grid.shape for grid in grey] == [(4, 5), (3, 6)]
    expected = reference(np.concatenate([grid.reshape(-1, 6) for grid in features]), 4)
    values = np.concatenate([np.dstack([g, c]).reshape(-1, 4) for g, c in zip(grey, colours)])
    for column, truth in zip(values.T, expected.T):
        assert abs(np.corrcoef(column, truth)[0, 1]) == pytest.approx(1)
        assert (column.min(), column.max()) == (0, 1)
    corners = np.concatenate([grid[[0, 0, -1, -1], [0, -1, 0, -1]] for grid in grey])
    assert corners.mean() < values[:, 0].mean()


def test_fewer_dimensions_than_components():
    [grey], [colour] = first_components([np.arange(1.0, 13).reshape(3, 4, 1)])
    assert grey.min() == 0 and grey.max() == 1 and (colour == 0).all()
    rng = np.random.default_rng(0)
    plane = (rng.standard_normal((50, 2)) @ rng.standard_normal((2, 7))).astype(np.float32)
    np.testing.assert_allclose(np.abs(components(plane, 4)[:, :2]), np.abs(reference(plane, 2)), rtol=1e-4)
    assert (components(plane, 4)[:, 2:] == 0).all()


def test_columns_are_scaled_from_zero_to_one():
    columns = np.array([[1.0, 5, 0, -2], [3, 5, 0, -2], [2, 5, 0, -2]])
    np.testing.assert_array_equal(to_unit(columns), [[0, 1, 0, 1], [1, 1, 0, 1], [0.5, 1, 0, 1]])
    assert (to_unit(np.array([[3.0], [3 + 1e-7], [3]])) == 1).all()  # rounding is no variation


@given(seed=st.integers(0, 100), scale=st.floats(0.1, 100))
def test_rotated_and_scaled_features_look_the_same(seed, scale):
    features, _ = scene()
    rng = np.random.default_rng(seed)
    features = [values + 0.1 * rng.standard_normal(values.shape) for values in features]
    expected = remove_background(features, threshold=12)
    turn = scale * ortho_group.rvs(4, random_state=seed)
    found = remove_background([values @ turn for values in features], threshold=12 * scale)
    for part in ('masks', 'colours'):
        for one, other in zip(getattr(found, part), getattr(expected, part)):
            np.testing.assert_allclose(one, other, atol=1e-6)
