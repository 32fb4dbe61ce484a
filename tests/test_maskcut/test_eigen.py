import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from projects.crate.maskcut import eigen
from projects.crate.maskcut.affinity import AffinityGraph
from projects.crate.maskcut.eigen import eigengap, second_eigenvector
from tools.bench.dense_maskcut import affinity, eigenvectors


def blobs(seed, tokens=60, channels=4, batch=1):
    """Features around a few directions, so that the graph has structure."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((batch, channels, 3))
    choice = rng.integers(3, size=(batch, 1, tokens))
    noise = rng.standard_normal((batch, channels, tokens))
    return np.take_along_axis(centres, np.broadcast_to(choice, noise.shape), 2) + 0.7 * noise


def solve(features, **options):
    return second_eigenvector(AffinityGraph(torch.from_numpy(features), 0.15), **options).numpy()


def spectrum(features):
    return eigenvectors(affinity(features, 0.15), subset=None)


def alignment(x, y, features):
    """Cosine in the scalar product of D, in which the eigenvectors are orthogonal."""
    return abs(x * affinity(features, 0.15).sum(1) @ y)


@given(seed=st.integers(0, 2**32 - 1), tokens=st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_it_is_the_dense_solution(seed, tokens):
    f = blobs(seed, tokens)
    values, vectors = spectrum(f[0])
    assume(tokens == 2 or values[2] - values[1] > 1e-6)
    assume(values[1] < 1 - 1e-6)  # else there is no second side
    assert alignment(solve(f)[0], vectors[:, 1], f[0]) == pytest.approx(1, abs=1e-9)


def test_the_residual_is_what_is_promised():
    f = blobs(0, tokens=300)
    x = solve(f)[0]
    A = affinity(f[0], 0.15)
    d = A.sum(1)
    y = np.sqrt(d) * x
    My = (A @ (y / np.sqrt(d))) / np.sqrt(d)
    assert np.linalg.norm(y) == pytest.approx(1)
    assert np.linalg.norm(My - (y @ My) * y) < 1e-9


def test_a_few_products_are_enough(monkeypatch):
    f = blobs(0, tokens=300)
    products = []
    product = AffinityGraph.normalised_product
    monkeypatch.setattr(AffinityGraph, 'normalised_product', lambda self, v: products.append(v) or product(self, v))
    monkeypatch.setattr(eigen, '_dense', None)
    solve(f)
    assert 10 < len(products) < 25


def test_images_of_a_batch_do_not_see_each_other():
    f = blobs(1, batch=5)
    f[3] = 1  # this one has no second side and ends at once
    alone = np.concatenate([solve(f[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(solve(f), alone, atol=1e-13)
    assert not alone[3].any()


def test_too_few_steps_fall_back_to_the_dense_solver(monkeypatch):
    f = blobs(2, batch=2)
    calls = []
    dense = eigen._dense
    monkeypatch.setattr(eigen, '_dense', lambda graph, image: calls.append(image) or dense(graph, image))
    expected = solve(f)
    assert not calls
    for x, y, image in zip(solve(f, max_steps=2), expected, f):
        assert alignment(x, y, image) == pytest.approx(1, abs=1e-9)
    assert calls == [0, 1]


def test_a_wrong_product_is_noticed(monkeypatch):
    """The residual is computed anew: a recurrence that lies does not get through."""
    f = blobs(3)
    graph = AffinityGraph(torch.from_numpy(f), 0.15)
    monkeypatch.setattr(eigen, '_lanczos', lambda graph, *_: (torch.full((1,), 0.5).double(), graph.leading.clone()))
    x = second_eigenvector(graph)[0].numpy()
    assert alignment(x, spectrum(f[0])[1][:, 1], f[0]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    'features', [np.zeros((1, 3, 20)), np.ones((1, 3, 20)), np.ones((1, 3, 1)), np.ones((1, 1, 2))]
)
def test_a_graph_without_two_sides_gives_zeros(features):
    assert not solve(features).any()


def test_a_multiple_eigenvalue_gives_a_vector_of_its_space_every_time():
    f = np.repeat(np.eye(4), 5, axis=1)[None]  # four equal groups: mu = 0.0002 three times
    x = solve(f)[0]
    assert np.array_equal(x, solve(f)[0])
    A = affinity(f[0], 0.15)
    d = A.sum(1)
    mu = x @ (d * x - A @ x)
    np.testing.assert_allclose(d * x - A @ x, mu * d * x, atol=1e-12)


def test_the_number_of_threads_does_not_matter():
    f = blobs(4, tokens=500, channels=16)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(solve(f))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(*results, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), tokens=st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_the_gap_is_that_of_the_dense_spectrum(seed, tokens):
    f = blobs(seed, tokens)
    graph = AffinityGraph(torch.from_numpy(f), 0.15)
    mu = [*spectrum(f[0])[0], 1.0]  # two tokens have no third value
    gap = eigengap(graph, second_eigenvector(graph)).item()
    assert gap == pytest.approx(max(min(mu[2], 1) - min(mu[1], 1), 0), abs=1e-5)
    assert 0 <= gap <= 1


def test_gaps_of_no_cut_of_equal_cuts_and_of_a_batch():
    alike = np.ones((1, 3, 12))
    three = np.repeat(np.eye(3), 4, axis=1)[None]  # three equal parts: mu_2 = mu_3
    two = np.concatenate([np.repeat(np.eye(2), 6, axis=1), np.zeros((1, 12))])[None]
    graph = AffinityGraph(torch.from_numpy(np.concatenate([alike, three, two])), 0.15)
    gaps = eigengap(graph, second_eigenvector(graph))
    np.testing.assert_allclose(gaps, [0, 0, 1], atol=1e-4)
    assert not eigengap(graph, torch.zeros(3, 12, dtype=torch.float64)).any()
