"""Compression and sparsity of the tokens: the two parts of the objective of every layer of CRATE."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.layers import split_heads
from ..models.observe import Observation


def coding_rate(features: Tensor, num_heads: int, eps_squared: float = 0.01) -> Tensor:
    """Return the coding rate of the tokens in the subspaces of the heads, in nats: low where they are compressed.

    R^c = sum over heads k of 1/2 log det(I + p / (m eps^2) W_k W_k^T)      (CRATE, arXiv 2306.01129)

    It is measured as in the released code. W_k (m x p) has a row U_k^T z for every token, [CLS] included, scaled to
    unit length (a zero row stays zero). By Sylvester's identity, I + p / (m eps^2) W_k^T W_k, a p x p matrix, has the
    same determinant. 0 <= R^c <= K p / 2 log(1 + 1 / eps^2).

    Args:
        features: U^T z of all heads side by side (keys for a ViT), (B, m, K p): ``Observation.features``.
        num_heads: Number of heads K.
        eps_squared: Allowed distortion eps^2; the released code has 0.01 in this place.

    Returns:
        (B,) float64.
    """
    w = F.normalize(split_heads(features.double(), num_heads), dim=-1)  # (B, K, m, p)
    m, p = w.shape[-2:]
    return (torch.eye(p).to(w) + p / (m * eps_squared) * w.mT @ w).logdet().sum(-1) / 2


def nonzero_share(output: Tensor) -> Tensor:
    """Return the share of the entries of a layer's output that are not zero, (B, m, d) -> (B,) float64, from 0 to 1.

    It is low where the tokens are sparse: behind ISTA. The released code of CRATE returns the share of zeros; its
    figures show this share.
    """
    return (output != 0).flatten(1).double().mean(1)


def sparse_rate(layers: Iterable[Observation]) -> dict[str, Tensor]:
    """Return 'compression' (:func:`coding_rate`) and 'nonzero' (:func:`nonzero_share`), (L, B) float64 each.

    Args:
        layers: Observations of one forward pass of B images, layer by layer, with outputs.
    """
    rates = [(coding_rate(layer.features, layer.num_heads), nonzero_share(layer.output)) for layer in layers]
    return dict(zip(('compression', 'nonzero'), map(torch.stack, zip(*rates))))


def mean_and_std(rates: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Average over n images: {key: (L, n)} -> {key: means, key_std: standard deviations (divisor n)}, per layer."""
    means = {key: values.mean(1).tolist() for key, values in rates.items()}
    return {**means, **{f'{key}_std': values.std(1).tolist() for key, values in rates.items()}}
