"""The second-smallest generalised eigenvector of a graph, the only one that MaskCut needs."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .affinity import AffinityGraph

TOLERANCE = 1e-10  # of the residual |M y - theta y|, for y of unit length
MAX_STEPS = 256  # typical are 16
STEPS_BETWEEN_CHECKS = 4  # at a check the host waits for the device, and at no other time


def second_eigenvector(graph: AffinityGraph, max_steps: int = MAX_STEPS) -> Tensor:
    """Return the x of the second-smallest mu in (D - A) x = mu D x, for every image.

    With y = D^1/2 x this is M y = (1 - mu) y, M = D^-1/2 A D^-1/2, whose largest eigenvalue 1 belongs to D^1/2 1. A
    Lanczos run orthogonal to that vector finds the next one from a few products with M (Golub & Van Loan, Matrix
    Computations, Section 10.1). A dense solver needs O(N^3) operations.

    The run ends when the residual of every image is below 1e-10 by the recurrence. It is then computed with one more
    product. An image whose residual is not below 1e-9 is solved densely, with several N x N matrices of doubles.

    Degenerate cases, all deterministic: a constant graph (all features equal or zero, a single token) gives the zero
    vector. Where the eigenvalue is multiple, the result is the projection of a fixed start vector onto the eigenspace.

    Args:
        graph: B images of N tokens.
        max_steps: Lanczos steps before the dense fallback.

    Returns:
        (B, N) float64 with x^T D x = 1; the sign is the solver's.
    """
    value, vector = _lanczos(graph, max_steps)
    product = graph.normalised_product(vector)
    residual = (product - value[:, None] * vector).norm(dim=1)
    for image in (residual > 10 * TOLERANCE).nonzero().flatten().tolist():
        value[image], vector[image] = _dense(graph, image)
    vector[value < TOLERANCE] = 0  # M has no direction beside the leading one
    return vector * graph.degree.rsqrt()


def _lanczos(graph: AffinityGraph, max_steps: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue (B,) and eigenvector (B, N) of M on the complement of its leading vector.

    Every new vector is orthogonalised twice against all earlier ones. The leading vector is the first of them.
    """
    batch, count = graph.leading.shape
    num_steps = max(1, min(max_steps, count - 1))
    basis = graph.leading.new_empty(batch, num_steps + 1, count)
    basis[:, 0] = graph.leading
    tridiagonal = basis.new_zeros(batch, num_steps, num_steps)
    vector = basis.new_zeros(batch, count)
    found = torch.zeros(batch, dtype=torch.bool, device=basis.device)
    following, _ = _orthogonalise(basis[:, :1], _start_vector(graph))
    length = following.norm(dim=1)
    for step in range(num_steps):
        basis[:, step + 1] = _unit(following, length)
        known = basis[:, : step + 2]
        following, coefficients = _orthogonalise(known, graph.normalised_product(known[:, -1]))
        length = following.norm(dim=1)
        tridiagonal[:, step, step] = coefficients[:, -1]
        last = step == num_steps - 1
        if last or (step + 1) % STEPS_BETWEEN_CHECKS == 0:
            values, vectors = torch.linalg.eigh(tridiagonal[:, : step + 1, : step + 1])
            combined = (vectors[:, None, :, -1] @ known[:, 1:]).squeeze(1)
            value = values[:, -1]
            # a finished image keeps its vector, which must not depend on the others of the batch
            vector = torch.where(found[:, None], vector, combined)
            found |= length * vectors[:, -1, -1].abs() < TOLERANCE
            if found.all():
                break
        if not last:
            tridiagonal[:, step, step + 1] = tridiagonal[:, step + 1, step] = length
    return value, F.normalize(vector, dim=1)


def _orthogonalise(basis: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``vector`` (B, N) without its parts along ``basis`` (B, k, N), and these parts (B, k)."""
    coefficients = vector.new_zeros(basis.shape[:2])
    for _ in range(2):
        parts = basis @ vector.unsqueeze(-1)  # (B, k, 1)
        vector = vector - (basis.mT @ parts).squeeze(-1)
        coefficients = coefficients + parts.squeeze(-1)
    return vector, coefficients


def _unit(vector: Tensor, length: Tensor) -> Tensor:
    """Scale ``vector`` (B, N) to length 1; to 0 where it is rounding only, since the run has found everything."""
    usable = length > 1e-13
    return torch.where(usable, 1 / length, 0)[:, None] * vector


def _start_vector(graph: AffinityGraph) -> Tensor:
    """Return fixed numbers between -1 and 1 without pattern; random generators depend on the device."""
    count = graph.leading.shape[1]
    index = torch.arange(1, count + 1, dtype=torch.float64, device=graph.leading.device)
    return torch.sin(index.square()).expand(len(graph), count)


def _dense(graph: AffinityGraph, image: int) -> tuple[Tensor, Tensor]:
    """Solve one image densely, with the leading eigenvalue shifted from 1 to 0."""
    leading = graph.leading[image]
    values, vectors = torch.linalg.eigh(graph.normalised_matrix(image) - leading.outer(leading))
    return values[-1], vectors[:, -1]
