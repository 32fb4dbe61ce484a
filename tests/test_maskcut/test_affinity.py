import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.crate.maskcut import affinity as module
from projects.crate.maskcut.affinity import MAX_TOKENS, AffinityGraph
from tools.bench.dense_maskcut import affinity


def features(seed, channels=3, tokens=40, batch=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((batch, channels, tokens)))


def dense(graph, image=0):
    """A itself, from its products with the unit vectors."""
    count = graph.leading.shape[1]
    columns = [graph._product(torch.eye(count, dtype=torch.float64)[[i] * len(graph)])[image] for i in range(count)]
    return torch.stack(columns, 1).numpy()


@pytest.fixture(params=[torch.int8, torch.float32])
def edge_type(request, monkeypatch):
    monkeypatch.setattr(module, '_edge_type', lambda device: request.param)
    return request.param


@pytest.mark.parametrize('tau', [-0.3, 0.0, 0.15, 0.9])
def test_products_are_those_of_the_affinity_matrix(edge_type, tau):
    f = features(0, batch=2)
    graph = AffinityGraph(f, tau)
    for image in range(2):
        A = affinity(f[image].numpy(), tau)
        np.testing.assert_allclose(dense(graph, image), A, rtol=1e-12)
        np.testing.assert_allclose(graph.degree[image], A.sum(1), rtol=1e-12)
        M = A / np.sqrt(np.outer(A.sum(1), A.sum(1)))
        np.testing.assert_allclose(graph.normalised_matrix(image), M, rtol=1e-12)
        v = np.random.default_rng(1).standard_normal((2, 40))
        np.testing.assert_allclose(graph.normalised_product(torch.from_numpy(v))[image], M @ v[image], atol=1e-12)
        np.testing.assert_allclose(M @ graph.leading[image].numpy(), graph.leading[image], rtol=1e-12)


def test_tiles_make_one_matrix(edge_type, monkeypatch):
    monkeypatch.setattr(module, 'TILE', 7)
    f = features(2, tokens=40)
    np.testing.assert_allclose(dense(AffinityGraph(f, 0.15)), affinity(f[0].numpy(), 0.15), rtol=1e-12)


def test_the_matrix_is_symmetric_whatever_the_product_rounds(monkeypatch):
    monkeypatch.setattr(module.F, 'normalize', lambda x, dim: _Rounding(x))
    edges = module._edges(torch.ones(1, 2, 12), 0.5)
    assert torch.equal(edges, edges.mT)
    assert 0 < edges.sum() < edges.numel()


class _Rounding:
    """Stands for features whose matrix product rounds (i, j) and (j, i) to different sides of tau."""

    def __init__(self, x):
        self.x = x

    def __getitem__(self, index):
        return _Rounding(self.x[index])

    @property
    def mT(self):  # noqa: N802
        return self

    def __matmul__(self, other):
        return torch.triu(torch.ones(1, self.x.shape[-1], other.x.shape[-1]))


@pytest.mark.parametrize('tau', [-0.3, 0.15])
def test_painting_is_setting_features_to_zero(edge_type, tau):
    f = features(3, batch=2)
    masks = torch.zeros(2, 40, dtype=torch.bool)
    masks[0, 5:20] = masks[1, 30:] = True
    graph = AffinityGraph(f, tau)
    graph.paint(masks)
    painted = f.masked_fill(masks[:, None], 0)
    for image in range(2):
        A = affinity(painted[image].numpy(), tau)
        np.testing.assert_allclose(dense(graph, image), A, rtol=1e-12)
        np.testing.assert_allclose(graph.degree[image], A.sum(1), rtol=1e-12)
        M = A / np.sqrt(np.outer(A.sum(1), A.sum(1)))
        np.testing.assert_allclose(graph.normalised_matrix(image), M, rtol=1e-12)


def test_a_selection_has_the_painting_of_its_images():
    f = features(4, batch=3)
    graph = AffinityGraph(f, 0.15)
    masks = torch.zeros(3, 40, dtype=torch.bool)
    masks[2, :10] = True
    graph.paint(masks)
    chosen = graph.select([0, 2])
    assert len(chosen) == 2
    v = torch.randn(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(chosen.normalised_product(v[[0, 2]]), graph.normalised_product(v)[[0, 2]])
    assert graph.select([0, 1, 2]) is graph


@given(seed=st.integers(0, 2**32 - 1), tokens=st.integers(1, 70), top=st.integers(0, 45))
@settings(max_examples=40, deadline=None)
def test_products_with_integers_are_exact(seed, tokens, top):
    rng = np.random.default_rng(seed)
    graph = AffinityGraph(features(seed, tokens=tokens), 0.15)
    v = rng.integers(-(2**top), 2**top, (1, tokens), endpoint=True)
    v[0, 0] = 2**top  # the unit is then a power of two, and every entry a multiple of it
    expected = graph._edges[0].numpy().astype(np.int64) @ v[0]
    assert np.array_equal(graph._exact_product(torch.from_numpy(v).double())[0].numpy(), expected)


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-300, 1e-12, 1.0, 1e12]))
@settings(max_examples=20, deadline=None)
def test_both_number_types_give_the_same_bits(seed, scale):
    results = []
    v = features(seed + 1, channels=1, tokens=40)[:, 0] * scale
    for dtype in (torch.int8, torch.float32):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, '_edge_type', lambda device, dtype=dtype: dtype)
            results.append(AffinityGraph(features(seed), 0.15).normalised_product(v))
    assert torch.equal(*results)


def test_the_largest_graph_stays_within_exact_integers():
    """Every digit of every token at its largest, joined with everything."""
    largest_digit = 2**module.DIGIT_BITS - 1
    assert MAX_TOKENS * largest_digit < 2**24
    assert largest_digit <= torch.iinfo(torch.int8).max
    assert MAX_TOKENS * 2**module.VECTOR_BITS < 2**63
    assert 2**module.VECTOR_BITS < 2 ** (module.DIGIT_BITS * module.NUM_DIGITS - 1)


def test_a_rounded_cosine_above_one_is_no_edge():
    f = torch.ones(1, 7, 30) / 3
    assert AffinityGraph(f, 1.0)._edges.sum() == 0
