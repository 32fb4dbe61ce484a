"""Coding rate and sparsity: against the released definition written out, by hand, and by what must not change them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import build, crate, images

from projects.crate.evaluation.sparse_rate import coding_rate, mean_and_std, nonzero_share, sparse_rate
from projects.crate.models import observe


def released_rate(features, num_heads, eps=0.01):
    """One image, as the released code goes about it: head by head, with an m x m determinant."""
    m, d = features.shape
    p = d // num_heads
    total = 0.0
    for k in range(num_heads):
        w = features[:, k * p : (k + 1) * p].astype(np.float64)
        for row in range(m):
            w[row] /= max(np.linalg.norm(w[row]), 1e-12)
        sign, logdet = np.linalg.slogdet(np.eye(m) + p / (m * eps) * (w @ w.T))
        assert sign == 1
        total += logdet / 2
    return total


@given(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 12),
    heads=st.integers(1, 4),
    dim=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_equals_the_released_definition(batch, tokens, heads, dim, seed):
    features = torch.randn(batch, tokens, heads * dim, generator=torch.Generator().manual_seed(seed))
    rates = coding_rate(features, heads)
    assert rates.shape == (batch,) and rates.dtype == torch.float64
    expected = [released_rate(image.numpy(), heads) for image in features]
    np.testing.assert_allclose(rates, expected, rtol=1e-10)


def test_equals_the_released_definition_on_many_tokens_that_almost_agree():
    """Nearly singular, and more tokens than a head has dimensions: single precision would be 1e-4 off here."""
    features = torch.randn(1, 1, 16) + 1e-3 * torch.randn(1, 400, 16)
    np.testing.assert_allclose(coding_rate(features, 2), [released_rate(features[0].numpy(), 2)], rtol=1e-10)


@pytest.mark.parametrize('eps_squared', [0.01, 0.5])
def test_closed_forms(eps_squared):
    """A determinant of I plus a multiple of a projection is a power."""
    p, heads = 4, 3
    line = heads / 2 * math.log(1 + p / eps_squared)

    def rate(features):
        return coding_rate(features, heads, eps_squared).item()

    assert rate(torch.randn(1, 1, heads * p)) == pytest.approx(line)  # one token
    assert rate(torch.randn(1, 1, heads * p).repeat(1, 7, 1)) == pytest.approx(line)  # all tokens equal
    for m in (2, 4):  # tokens that are orthogonal in each head
        orthogonal = torch.eye(p)[:m].repeat(1, heads)[None]
        assert rate(orthogonal) == pytest.approx(heads * m / 2 * math.log(1 + p / (m * eps_squared)))
    bound = heads * p / 2 * math.log(1 + 1 / eps_squared)
    assert rate(torch.eye(p).repeat(5, heads)[None]) == pytest.approx(bound)  # all directions alike


@given(seed=st.integers(0, 99), heads=st.integers(1, 3), tokens=st.integers(1, 9))
def test_what_does_not_change_it(seed, heads, tokens):
    generator = torch.Generator().manual_seed(seed)
    p = 4
    w = torch.randn(2, tokens, heads, p, generator=generator, dtype=torch.float64)
    rates = coding_rate(w.flatten(2), heads)
    assert (rates > 0).all()
    assert (rates <= heads * p / 2 * math.log(1 + 1 / 0.01) * (1 + 1e-12)).all()
    rotations = torch.linalg.qr(torch.randn(heads, p, p, generator=generator, dtype=torch.float64))[0]
    scales = torch.rand(2, tokens, heads, 1, generator=generator, dtype=torch.float64) + 0.1
    order = torch.randperm(tokens, generator=generator)
    for changed in (torch.einsum('bmkp,kpq->bmkq', w, rotations), w * scales, w[:, order], -w, w.flip(2)):
        torch.testing.assert_close(coding_rate(changed.flatten(2), heads), rates)


def test_compressed_tokens_have_a_low_rate():
    spread = torch.randn(1, 50, 8)
    rates = [coding_rate(spread * torch.tensor([1.0, *[share] * 3] * 2), 2).item() for share in (1, 0.3, 0.1, 0)]
    assert rates == sorted(rates, reverse=True) and rates[0] > 2 * rates[-1]


def test_tokens_without_length_count_as_tokens_alone():
    features = torch.randn(1, 6, 4)
    features[0, 2:] = 0
    assert coding_rate(features, 1).item() == pytest.approx(released_rate(features[0].numpy(), 1))
    assert coding_rate(torch.zeros(2, 6, 4), 2).tolist() == [0, 0]


def test_nonzero_share():
    output = torch.tensor([[[0.0, 1, 0, 0], [0, 0, 0, 0]], [[-1, 2, 3, 1e-30], [0, -0.0, 5, 6]]])
    assert nonzero_share(output).tolist() == [1 / 8, 6 / 8]


@pytest.mark.parametrize('options', [dict(), dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'))])
def test_layers_of_a_backbone(options):
    """CRATE's output is sparse; a ViT's keys are measured, and its output is dense."""
    backbone = crate(out_type='raw', out_indices=[0, 1, 2], final_norm=False, **options).eval()
    with torch.no_grad(), observe(backbone, range(3), outputs=True) as seen:
        outputs = backbone(images(num=2))
    rates = sparse_rate(seen.values())
    for layer, output in enumerate(outputs):
        tokens = seen[layer].projected
        features = tokens if not options else tokens[..., 24:48]
        assert rates['compression'][layer].tolist() == pytest.approx([released_rate(f.numpy(), 3) for f in features])
        assert rates['nonzero'][layer].tolist() == [np.count_nonzero(image) / image.numel() for image in output]
    assert (rates['nonzero'] == 1).all() if options else (rates['nonzero'] < 0.9).all()


def test_mmpretrain_vit():
    pytest.importorskip('mmpretrain')
    arch = dict(embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24)
    vit = build('mmpretrain', dict(type='VisionTransformer', arch=arch, img_size=8, patch_size=4))
    vit.eval()
    with torch.no_grad(), observe(vit, range(2), outputs=True) as seen:
        vit(images(8, 8, num=2))
    rates = sparse_rate(seen.values())
    keys = seen[1].projected[..., 12:24]
    assert rates['compression'][1].tolist() == pytest.approx([released_rate(image.numpy(), 3) for image in keys])
    assert (rates['nonzero'] == 1).all()


def test_mean_and_std():
    summary = mean_and_std(dict(a=np.array([[1.0, 3], [2, 2]]), b=np.array([[5.0], [7]])))
    assert summary == dict(a=[2, 2], a_std=[1, 0], b=[5, 7], b_std=[0, 0])
