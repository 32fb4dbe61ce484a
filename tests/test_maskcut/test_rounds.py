from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from projects.crate.maskcut import affinity as affinity_module
from projects.crate.maskcut import mask_gaps, mask_scores, maskcut, ncut, peak_positive, salient_part
from projects.crate.maskcut import rounds as module
from tools.bench.dense_maskcut import affinity, dense_maskcut, eigenvectors

DATA = Path(__file__).resolve().parent.parent / 'data'
PHOTOGRAPHS = ('astronaut', 'chelsea', 'coffee', 'rocket')


@pytest.fixture(scope='module')
def golden():
    return {side: np.load(DATA / f'maskcut_golden_{side}.npz') for side in (30, 60)}


def image_features(seed, grid, channels=4):
    """Smooth noise with noise of its own in every token: several regions, a few of them ragged."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.standard_normal((1, channels, 3, 3)))
    smooth = F.interpolate(coarse, size=grid, mode='bilinear', align_corners=True)[0].flatten(1)
    return smooth + 0.3 * torch.from_numpy(rng.standard_normal((channels, grid[0] * grid[1])))


def is_decided(features, tau):
    """Whether rounding can change nothing: no cosine near tau, a gap after mu_2, no entry near the mean or a peak."""
    units = F.normalize(features.double(), dim=0)
    values, vectors = eigenvectors(affinity(features.numpy(), tau), subset=None)
    x = vectors[:, 1] / np.abs(vectors[:, 1]).max()
    peaks = (np.sort(values)[-2:] for values in (np.abs(x), x, -x))
    return (
        ((units.T @ units - tau).abs() > 1e-5).all()
        and values[2] - values[1] > 1e-4
        and np.abs(x - x.mean()).min() > 1e-6
        and all(largest - second > 1e-6 for second, largest in peaks)
    )


grids = st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda grid: grid[0] * grid[1] > 2)
seeds = st.integers(0, 2**32 - 1)
taus = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.15, 0.9, 0.999999, 1.0, 2.0])


@pytest.mark.parametrize('side', [30, 60])
@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_golden_masks(golden, name, side):
    features = torch.from_numpy(golden[side][f'{name}_feat'])
    masks, vectors = maskcut(features, (side, side))
    assert masks.dtype == torch.bool
    assert np.array_equal(masks.numpy(), golden[side][f'{name}_mask_peak'])

    signed = torch.from_numpy(golden[side][f'{name}_eig']).double().flatten(1)
    masks, vectors = maskcut(
        features, (side, side), orient=lambda x, number: x * (x * signed[number]).sum(1, keepdim=True).sign()
    )
    assert np.array_equal(masks.numpy(), golden[side][f'{name}_mask'])
    cosines = F.cosine_similarity(vectors.flatten(1), signed, dim=1)
    torch.testing.assert_close(cosines, torch.ones_like(cosines), atol=1e-6, rtol=0)


@pytest.mark.parametrize('together', [True, False])
def test_golden_batch(golden, together, monkeypatch):
    """Together is how a GPU does it; the last image has no object, and the others differ in their dropped rounds."""
    if together:
        monkeypatch.setattr(module, '_groups', lambda batch: [batch])
    features = torch.stack([torch.from_numpy(golden[30][f'{name}_feat']) for name in PHOTOGRAPHS])
    masks, _ = maskcut(torch.cat([features, torch.zeros(1, 8, 900)]), (30, 30))
    expected = np.stack([golden[30][f'{name}_mask_peak'] for name in PHOTOGRAPHS])
    assert np.array_equal(masks[:-1].numpy(), expected)
    assert not masks[-1].any()


@given(seed=seeds, grid=grids, num_masks=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_it_is_the_dense_algorithm(seed, grid, num_masks):
    features = image_features(seed, grid)
    expected = dense_maskcut(features.numpy(), grid, 0.15, num_masks)
    painted = features.clone()
    for mask in torch.from_numpy(expected).flatten(1):
        assume(is_decided(painted, 0.15))
        painted[:, mask] = 0
    assert np.array_equal(maskcut(features, grid, 0.15, num_masks)[0].numpy(), expected)


@given(seed=seeds, grid=grids)
@settings(max_examples=40, deadline=None)
def test_without_the_corner_rule_it_is_tokencut(seed, grid):
    """The part of {x > mean} that holds the peak of |x|, of x with a positive peak (arXiv 2202.11539)."""
    features = image_features(seed, grid)
    assume(is_decided(features, 0.2))
    x = eigenvectors(affinity(features.numpy(), 0.2), subset=(1, 1))[1][:, 0]
    x = (x * np.sign(x[np.abs(x).argmax()])).reshape(grid)
    parts, _ = ndimage.label(x > x.mean())
    (found,), _ = maskcut(features, grid, 0.2, num_masks=1, corner_rule=False)
    assert np.array_equal(found.numpy(), parts == parts.flat[np.abs(x).argmax()])


@given(seed=seeds, grid=grids, tau=taus, size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
@settings(max_examples=40, deadline=None)
def test_masks_are_disjoint_also_when_upsampled(seed, grid, tau, size):
    masks, vectors = maskcut(image_features(seed, grid), grid, tau)
    assert masks.shape == vectors.shape == (3, *grid)
    large = F.interpolate(masks[None].float(), size=size, mode='nearest')[0]
    assert large.sum(0).max() <= 1


@given(seed=seeds, grid=grids)
@settings(max_examples=40, deadline=None)
def test_one_cut_follows_a_permutation_of_the_tokens(seed, grid):
    features = image_features(seed, grid)
    assume(is_decided(features, 0.15))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(features.shape[1]))
    torch.testing.assert_close(ncut(features[:, order]), ncut(features)[order], atol=1e-7, rtol=0)


@given(seed=seeds, grid=grids, tau=taus)
@settings(max_examples=25, deadline=None)
def test_a_batch_is_its_images(seed, grid, tau):
    features = torch.stack([image_features(seed + i, grid) for i in range(3)])
    features[1] = 0
    masks, vectors = maskcut(features, grid, tau)
    for image, mask, vector in zip(features, masks, vectors):
        alone, x = maskcut(image, grid, tau)
        assert torch.equal(mask, alone)
        assert torch.equal(vector, x)
    assert torch.equal(ncut(features, tau), vectors[:, 0].flatten(1))


@given(seed=seeds, grid=grids)
@settings(max_examples=25, deadline=None)
def test_the_sign_of_the_solver_does_not_matter(seed, grid):
    features = image_features(seed, grid)
    expected = maskcut(features, grid)
    solve = module.second_eigenvector
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'second_eigenvector', lambda graph: -solve(graph))
        flipped = maskcut(features, grid)
    assert all(torch.equal(a, b) for a, b in zip(expected, flipped))


def test_float_types_agree():
    features = image_features(0, (8, 6))
    expected = maskcut(features, (8, 6))[0]
    assert expected.any()
    assert torch.equal(maskcut(features.float(), (8, 6))[0], expected)


@pytest.mark.parametrize('edge_type', [torch.int8, torch.float32])
def test_autocast_does_not_touch_the_graph(edge_type, monkeypatch):
    monkeypatch.setattr(affinity_module, '_edge_type', lambda device: edge_type)
    features = image_features(0, (12, 10)).float().requires_grad_()
    expected, vectors = maskcut(features, (12, 10))
    with torch.autocast('cpu', torch.bfloat16):
        masks, same_vectors = maskcut(features, (12, 10))
        x = ncut(features)
    assert torch.equal(masks, expected)
    assert torch.equal(same_vectors, vectors)
    assert torch.equal(x, vectors[0].flatten())


def test_the_features_are_left_alone():
    features = image_features(0, (8, 6))
    copy = features.clone()
    maskcut(features, (8, 6))
    assert torch.equal(features, copy)


@pytest.mark.parametrize('grid', [(4, 5), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize('value', [0.0, 1.0, -3.0])
def test_equal_features_have_no_object(grid, value):
    features = torch.full((3, grid[0] * grid[1]), value)
    masks, vectors = maskcut(features, grid)
    assert not masks.any()
    assert not vectors.any()


@pytest.mark.parametrize('tau', [1.0, 5.0, -1.5])
def test_a_tau_that_joins_none_or_all_has_no_object(tau):
    assert not maskcut(image_features(0, (6, 8)), (6, 8), tau)[0].any()


@pytest.mark.parametrize(('grid', 'index'), [((3, 8), np.s_[1, 5:7]), ((8, 3), np.s_[5:7, 1])])
def test_an_object_on_a_plain_ground_is_found(grid, index):
    expected = torch.zeros(grid, dtype=torch.bool)
    expected[index] = True
    features = torch.where(expected.flatten(), torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [0.0]]))
    masks, _ = maskcut(features, grid)
    assert torch.equal(masks[0], expected)
    assert not masks[1:].all(0).any()


def test_on_a_line_of_tokens_each_end_is_two_corners():
    features = torch.tensor([[1.0, 1, 1, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0]])
    expected = torch.tensor([[0, 0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    assert torch.equal(maskcut(features, (1, 7))[0][0], expected)
    assert torch.equal(maskcut(features, (7, 1))[0][0], expected.T)


def test_a_dropped_round_keeps_the_graph_and_forgets_its_mask(golden, monkeypatch):
    """Astronaut at 30 x 30: the second round repeats the first, is dropped, and may be taken in the third."""
    solved = []
    solve = module.second_eigenvector
    monkeypatch.setattr(module, 'second_eigenvector', lambda graph: solved.append(graph) or solve(graph))
    features = torch.from_numpy(golden[30]['astronaut_feat'])
    masks, vectors = maskcut(features, (30, 30))
    assert not masks[1].any()
    assert masks[2].any()
    assert torch.equal(vectors[1], vectors[2])
    assert len(solved) == 2  # nothing is solved again


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_features_that_are_no_numbers_are_refused(bad):
    features = torch.ones(3, 2, 12)
    features[1, 0, 4] = bad
    with pytest.raises(ValueError, match='image 1 of the batch hold NaN or inf'):
        maskcut(features, (3, 4))
    with pytest.raises(ValueError, match='image 0 of the batch'):
        ncut(features[1])


@pytest.mark.parametrize(
    ('features', 'grid', 'options', 'message'),
    [
        (torch.ones(2, 12), (3, 5), {}, '3 x 5 does not hold 12 tokens'),
        (torch.ones(2, 12), (3, 4), dict(num_masks=0), "num_masks must be 'auto' or at least 1, not 0"),
        (torch.ones(2, 12), (3, 4), dict(num_masks='all'), "at least 1, not 'all'"),
        (torch.ones(12), (3, 4), {}, r'not \(12,\)'),
        (torch.ones(2, 0), (0, 0), {}, 'not empty'),
        (torch.ones(1, 2**16 + 1), (1, 2**16 + 1), {}, 'at most 65536 tokens, not 65537'),
    ],
)
def test_bad_arguments(features, grid, options, message):
    with pytest.raises(ValueError, match=message):
        maskcut(features, grid, **options)


def test_the_first_of_several_peaks_gives_the_sign():
    x = torch.tensor([[0.5, -1.0, 1.0 - 1e-12], [0.5, 1.0 - 1e-12, -1.0]], dtype=torch.float64)
    assert peak_positive(x)[:, 1].gt(0).all()


class TestSalientPart:
    def test_the_side_of_the_peak_and_of_it_the_part_of_the_peak(self):
        x = torch.tensor([[0.0, 0, 0, 0, 0], [0, 3, 0, 2, 0], [0, 2, 0, 2, 0], [0, 0, 0, 0, 0]]).double()
        expected = torch.zeros(4, 5, dtype=torch.bool)
        expected[1:3, 1] = True
        assert torch.equal(salient_part(x), expected)

    def test_diagonal_neighbours_are_apart(self):
        x = torch.tensor([[0.0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]).double()
        assert salient_part(x).nonzero().tolist() == [[1, 1]]

    def test_three_corners_make_it_the_ground(self):
        x = torch.tensor([[5.0, 4, 4, 4], [4, 0, 1, 4], [4, 4, 4, 0]]).double()
        assert salient_part(x).nonzero().tolist() == [[1, 1], [1, 2]]  # of the other side, the part of its lowest

    def test_two_corners_do_not(self):
        x = torch.tensor([[5.0, 4, 4, 4], [0, 0, 0, 0], [0, 0, 0, 0]]).double()
        assert salient_part(x).nonzero().tolist() == [[0, i] for i in range(4)]

    def test_a_negative_peak_exchanges_the_sides(self):
        x = -torch.tensor([[0.0, 0, 0, 0], [0, 3, 2, 0], [0, 0, 0, 0]]).double()
        assert salient_part(x).nonzero().tolist() == [[1, 1], [1, 2]]

    def test_a_difference_of_rounding_size_is_none(self):
        x = torch.tensor([[0.0, 0, 0, 0, -1], [0, 2, 1e-13, 0, -1]]).double()
        assert salient_part(x).nonzero().tolist() == [[1, 1]]


@given(seed=seeds, grid=grids, tau=taus, num_masks=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_scores_are_one_minus_half_of_the_cut(seed, grid, tau, num_masks):
    """Against the dense matrix that each mask was cut from."""
    features = image_features(seed, grid)
    masks, _ = maskcut(features, grid, tau, num_masks)
    scores, painted = mask_scores(features, masks, tau), features.clone()
    assert scores.shape == (num_masks,) and scores.min() >= 0 and scores.max() <= 1
    for score, mask in zip(scores.tolist(), masks.flatten(1)):
        if not mask.any() or mask.all():
            assert score == 0
            continue
        inside, weights = mask.numpy(), affinity(painted.numpy(), tau)
        cut = weights[inside][:, ~inside].sum()
        assert score == pytest.approx(1 - (cut / weights[inside].sum() + cut / weights[~inside].sum()) / 2, abs=1e-5)
        painted[:, mask] = 0


def test_scores_of_clear_and_of_blurred_objects():
    """Two objects without a common edge separate fully; one that looks partly like the rest does not."""
    features = torch.zeros(3, 4, 6)
    features[0], features[0, 1:3, 1:3], features[1, 1:3, 1:3] = 1, 0, 1
    mask = features[1:2].bool()
    clear = mask_scores(features.flatten(1), mask)
    assert clear.item() == pytest.approx(1, abs=1e-4)
    features[0, 1, 1] = 1  # this token is like both
    assert 0.5 < mask_scores(features.flatten(1), mask).item() < 0.95
    assert mask_scores(
        features.flatten(1), torch.stack([torch.zeros(4, 6).bool(), torch.ones(4, 6).bool()])
    ).tolist() == [0, 0]


@pytest.mark.parametrize('together', [True, False])
def test_scores_of_a_batch_are_those_of_its_images(together, monkeypatch):
    if together:
        monkeypatch.setattr(module, '_groups', lambda batch: [batch])
    features = torch.stack([image_features(seed, (6, 7)) for seed in range(3)])
    masks, _ = maskcut(features, (6, 7))
    scores = mask_scores(features, masks)
    assert torch.equal(scores, torch.stack([mask_scores(*one) for one in zip(features, masks)]))
    with pytest.raises(ValueError, match='^mask_scores: masks .* do not fit features'):
        mask_scores(features, masks[:2])


@given(seed=seeds, grid=grids, tau=taus, num_masks=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_gaps_are_those_of_the_graphs_that_were_cut(seed, grid, tau, num_masks):
    """Against the dense spectrum of each graph."""
    features = image_features(seed, grid)
    masks, vectors = maskcut(features, grid, tau, num_masks)
    gaps, painted = mask_gaps(features, masks, vectors, tau), features.clone()
    assert gaps.shape == (num_masks,) and gaps.min() >= 0 and gaps.max() <= 1
    for gap, mask in zip(gaps.tolist(), masks.flatten(1)):
        if not mask.any():
            assert gap == 0
            continue
        mu = eigenvectors(affinity(painted.numpy(), tau), subset=None)[0]
        assert gap == pytest.approx(max(min(mu[2], 1) - min(mu[1], 1), 0), abs=1e-4)
        painted[:, mask] = 0


@pytest.mark.parametrize('together', [True, False])
def test_gaps_of_a_batch_are_those_of_its_images(together, monkeypatch):
    if together:
        monkeypatch.setattr(module, '_groups', lambda batch: [batch])
    features = torch.stack([image_features(seed, (6, 7)) for seed in range(4)])
    features[1] = 0
    found = maskcut(features, (6, 7))
    gaps = mask_gaps(features, *found)
    expected = torch.stack([mask_gaps(*one) for one in zip(features, *found)])
    torch.testing.assert_close(gaps, expected, atol=1e-5, rtol=0)  # a batch stops when its last image is done
    assert not gaps[1].any() and gaps.any()
    with pytest.raises(ValueError, match='^mask_gaps: masks .* do not fit features'):
        mask_gaps(features, found[0][:2], found[1][:2])


@given(seed=seeds, grid=grids, min_gap=st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.01]))
@settings(max_examples=40, deadline=None)
def test_auto_is_the_first_rounds_up_to_a_small_gap(seed, grid, min_gap):
    features = image_features(seed, grid)
    many, vectors = maskcut(features, grid, num_masks=module.MAX_MASKS)
    gaps = mask_gaps(features, many, vectors)
    assume((gaps - min_gap).abs().min() > 1e-4 or min_gap == 0)
    masks, _ = maskcut(features, grid, num_masks='auto', min_gap=min_gap)
    assert masks.shape == many.shape
    end = next((n for n in range(len(many)) if not many[n].any() or gaps[n] < min_gap), len(many))
    assert torch.equal(masks[:end], many[:end]) and not masks[end:].any()


def test_auto_of_a_batch_is_that_of_its_images(monkeypatch):
    monkeypatch.setattr(module, '_groups', lambda batch: [batch])
    features = torch.stack([image_features(seed, (6, 7)) for seed in range(20, 30)])
    together, _ = maskcut(features, (6, 7), num_masks='auto', min_gap=0.05)
    alone = [maskcut(image, (6, 7), num_masks='auto', min_gap=0.05)[0] for image in features]
    assert torch.equal(together, torch.stack(alone))
    assert len({int(masks.flatten(1).any(1).sum()) for masks in alone}) > 1  # images stop at different rounds
