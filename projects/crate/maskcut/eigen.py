"""The second-smallest generalised eigenvector of a graph, which MaskCut cuts, and how far the next one is away."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .affinity import AffinityGraph

TOLERANCE = 1e-10  # of the residual |M y - theta y|, for y of unit length
MAX_STEPS = 256  # typical are 16
GAP_TOLERANCE = 1e-6  # of the residual of the third eigenvalue, which bounds its error
STEPS_BETWEEN_CHECKS = 4  # at a check the host waits for the device, and at no other time


def second_eigenvector(graph: AffinityGraph, max_steps: int = MAX_STEPS) -> Tensor:
    """Return the x of the second-smallest mu in (D - A) x = mu D x, for every image.

    With y = D^1/2 x this is M y = (1 - mu) y, M = D^-1/2 A D^-1/2. The largest eigenvalue of M is 1, of the vector
    D^1/2 1. A Lanczos run orthogonal to this vector finds the next one from a few products with M (Golub & Van Loan,
    Matrix Computations, Section 10.1). A dense solver needs O(N^3) operations.

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
    value, vector = _lanczos(graph, graph.leading[:, None], max_steps, TOLERANCE)
    product = graph.normalised_product(vector)
    residual = (product - value[:, None] * vector).norm(dim=1)
    for image in (residual > 10 * TOLERANCE).nonzero().flatten().tolist():
        value[image], vector[image] = _dense(graph, image)
    vector[value < TOLERANCE] = 0  # M has no direction beside the leading one
    return vector * graph.degree.rsqrt()


def eigengap(graph: AffinityGraph, x: Tensor) -> Tensor:
    """Return mu_3 - mu_2 of (D - A) x = mu D x, for every image: how well the graph determines its cut.

    A small change E of the matrix turns the eigenvector by at most |E| / (mu_3 - mu_2), up to a constant (Davis & Kahan
    1970). Where the gap is small, another bipartition is almost as good a cut.

    Args:
        graph: B images of N tokens.
        x: (B, N), :func:`second_eigenvector` of the graph.

    Returns:
        (B,) float64 from 0 to 1; 0 where x is 0. A mu_3 above 1 counts as 1.
    """
    y = F.normalize(graph.degree.sqrt() * x, dim=1)
    second = (y * graph.normalised_product(y)).sum(1)
    third, _ = _lanczos(graph, torch.stack([graph.leading, y], 1), MAX_STEPS, GAP_TOLERANCE)
    return (second - third.clamp(0)).clamp(0) * x.any(1)


def _lanczos(graph: AffinityGraph, known: Tensor, max_steps: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue (B,) and eigenvector (B, N) of M on the complement of known ones, (B, k, N).

    Every new vector is orthogonalised twice against all earlier ones. The known vectors are the first of them.
    """
    batch, number, count = known.shape
    num_steps = max(1, min(max_steps, count - number))
    basis = known.new_empty(batch, num_steps + number, count)
    basis[:, :number] = known
    tridiagonal = basis.new_zeros(batch, num_steps, num_steps)
    vector = basis.new_zeros(batch, count)
    found = torch.zeros(batch, dtype=torch.bool, device=basis.device)
    following, _ = _orthogonalise(known, _start_vector(graph, number))
    length = following.norm(dim=1)
    for step in range(num_steps):
        basis[:, step + number] = _unit(following, length)
        earlier = basis[:, : step + number + 1]
        following, coefficients = _orthogonalise(earlier, graph.normalised_product(earlier[:, -1]))
        length = following.norm(dim=1)
        tridiagonal[:, step, step] = coefficients[:, -1]
        last = step == num_steps - 1
        if last or (step + 1) % STEPS_BETWEEN_CHECKS == 0:
            values, vectors = torch.linalg.eigh(tridiagonal[:, : step + 1, : step + 1])
            combined = (vectors[:, None, :, -1] @ earlier[:, number:]).squeeze(1)
            value = values[:, -1]
            # a finished image keeps its vector, which must not depend on the others of the batch
            vector = torch.where(found[:, None], vector, combined)
            found |= length * vectors[:, -1, -1].abs() < tolerance
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


def _start_vector(graph: AffinityGraph, number: int) -> Tensor:
    """Return fixed numbers between -1 and 1 without pattern; random generators depend on the device.

    For another number of known vectors they are others: of a multiple eigenvalue, a start finds one vector only.
    """
    count = graph.leading.shape[1]
    index = torch.arange(1, count + 1, dtype=torch.float64, device=graph.leading.device)
    return torch.sin(number * index.square()).expand(len(graph), count)


def _dense(graph: AffinityGraph, image: int) -> tuple[Tensor, Tensor]:
    """Solve one image densely, with the leading eigenvalue shifted from 1 to 0."""
    leading = graph.leading[image]
    values, vectors = torch.linalg.eigh(graph.normalised_matrix(image) - leading.outer(leading))
    return values[-1], vectors[:, -1]
