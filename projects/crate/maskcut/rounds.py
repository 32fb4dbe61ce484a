"""MaskCut: find objects one after the other; each cuts the graph that the earlier objects left."""

from collections.abc import Callable, Sequence

import torch
from scipy import ndimage
from torch import Tensor

from ..errors import ArgumentError
from .affinity import MAX_TOKENS, AffinityGraph
from .eigen import eigengap, second_eigenvector

TIE = 1e-9  # entries closer than this, relative to the largest one, are equal: the solver's accuracy
MAX_IOU = 0.5  # with the previous round's mask
MIN_AREA = 0.01  # share of the grid
MAX_MASKS = 10  # of num_masks='auto'
MIN_GAP = 0.25  # of num_masks='auto', see docs/maskcut.md

Orientation = Callable[[Tensor, int], Tensor]


def ncut(features: Tensor, tau: float = 0.15) -> Tensor:
    """Return the relaxed normalised cut of the tokens: x of the second-smallest mu in (D - A) x = mu D x.

    A_ij = 1 if cos(f_i, f_j) > tau else 1e-5, D = Diag(A 1) (Shi & Malik 2000; arXiv 2301.11320, Section 3.2).

    The sign, which the equation leaves open, makes the entry of largest magnitude positive (the first of several).
    Features without two sides (all equal, all zero, one token) give zeros.

    Args:
        features: (C, N), or (B, C, N) for a batch.
        tau: Threshold of the cosine.

    Returns:
        (N,) or (B, N) float64, with x^T D x = 1.

    Raises:
        ValueError: The features have another shape, hold NaN or infinity, or are more than 65,536 tokens.
    """
    groups = _groups(_check(features))
    with torch.autocast(features.device.type, enabled=False):
        vectors = torch.cat([peak_positive(second_eigenvector(AffinityGraph(group, tau))) for group in groups])
    return vectors[0] if features.ndim == 2 else vectors


def maskcut(
    features: Tensor,
    grid: tuple[int, int],
    tau: float = 0.15,
    num_masks: int | str = 3,
    orient: Orientation | None = None,
    corner_rule: bool = True,
    min_gap: float = MIN_GAP,
) -> tuple[Tensor, Tensor]:
    """Find up to ``num_masks`` objects as disjoint masks on the token grid (arXiv 2301.11320, Algorithm 1).

    Each round cuts the graph in two (:func:`ncut`) and takes the part that holds the peak of the eigenvector
    (:func:`salient_part`). It sets the features of this part to zero for the next round. A mask that
    covers at most 1% of the grid, or whose IoU with the previous mask exceeds 0.5, is left empty (from the second round
    on). The graph is then unchanged, and the next round compares with an empty mask.

    The sign rule: the reference takes each eigenvector with the sign that LAPACK happens to return. Where the side of
    the peak holds three or more corners, one sign yields that side and the other sign its complement. Here the peak is
    always positive, so the result is a function of the features. It is the side of the peak; if this side holds three
    or more corners of the grid, it is the other side.

    Args:
        features: (C, h * w) of the patch tokens, row by row, or (B, C, h * w) for a batch. A GPU solves the images
            together; a CPU solves one after the other, which is as fast there.
        grid: (h, w).
        tau: Threshold of the cosine.
        num_masks: Number of rounds. 'auto': rounds go on until one has no mask, or its graph an eigengap
            (:func:`projects.crate.maskcut.mask_gaps`) below ``min_gap``; at most 10.
        orient: ``orient(eigenvectors (B, h * w), round)`` returns them with the signs to use; for comparisons with
            other implementations. Default: :func:`peak_positive`.
        corner_rule: Whether the side that holds three or more corners is background (MaskCut); False for TokenCut
            (arXiv 2202.11539), which takes the side of the peak in any case.
        min_gap: Smallest eigengap for 'auto', from 0 to 1.

    Returns:
        masks: (num_masks, h, w) bool, (10, h, w) for 'auto', each without the tokens of earlier ones; empty: no object.
        eigenvectors: (num_masks, h, w) float64, one per mask. Both have a leading B for a batch.

    Raises:
        ValueError: See :func:`ncut`; or the grid does not hold the tokens, or num_masks is neither
            'auto' nor at least 1.
    """
    batch = _check(features)
    height, width = grid
    if height * width != batch.shape[-1]:
        raise ValueError(f'maskcut: a grid of {height} x {width} does not hold {batch.shape[-1]} tokens')
    least, count = (min_gap, MAX_MASKS) if num_masks == 'auto' else (None, num_masks)
    if not isinstance(count, int) or count < 1:
        raise ArgumentError(f"maskcut: num_masks must be 'auto' or at least 1, not {num_masks!r}")
    with torch.autocast(features.device.type, enabled=False):
        results = [
            _maskcut(group, grid, tau, count, orient or peak_positive, corner_rule, least) for group in _groups(batch)
        ]
    masks, vectors = (torch.cat(parts) for parts in zip(*results))
    return (masks[0], vectors[0]) if features.ndim == 2 else (masks, vectors)


def mask_scores(features: Tensor, masks: Tensor, tau: float = 0.15) -> Tensor:
    """Score the masks of :func:`maskcut` by how well each separates the graph that it was cut from.

    The score is half of the normalised association of Shi & Malik (2000), 1 - Ncut / 2. It is the mean of two shares.
    The first is the share of the mask's edges that end in the mask. The second is the share of all other tokens' edges
    that end outside it.

    Args:
        features: Features (C, h * w), or (B, C, h * w), that :func:`maskcut` got.
        masks: Masks that it returned, (num_masks, h, w) bool, or (B, num_masks, h, w).
        tau: Threshold that it got.

    Returns:
        (num_masks,) or (B, num_masks) float64 from 0 to 1; 0 for an empty mask and for one of the whole grid.

    Raises:
        ValueError: See :func:`ncut`; or the masks do not fit the features.
    """
    batch, flat = _check_masks('mask_scores', features, masks)
    with torch.autocast(features.device.type, enabled=False):
        scores = [_mask_scores(AffinityGraph(group, tau), part) for group, part in zip(_groups(batch), _groups(flat))]
    return torch.cat(scores)[0] if features.ndim == 2 else torch.cat(scores)


def mask_gaps(features: Tensor, masks: Tensor, eigenvectors: Tensor, tau: float = 0.15) -> Tensor:
    """Score the masks of :func:`maskcut` by the eigengap of the graph that each was cut from.

    The score is mu_3 - mu_2 of (D - A) x = mu D x (:func:`projects.crate.maskcut.eigen.eigengap`): how far the best cut
    is from the next one.

    Args:
        features: Features (C, h * w), or (B, C, h * w), that :func:`maskcut` got.
        masks: Masks that it returned, (num_masks, h, w) bool, or (B, num_masks, h, w).
        eigenvectors: Eigenvectors that it returned, of the same shape.
        tau: Threshold that it got.

    Returns:
        (num_masks,) or (B, num_masks) float64 from 0 to 1; 0 for an empty mask.

    Raises:
        ValueError: See :func:`ncut`; or the masks do not fit the features.
    """
    batch, flat = _check_masks('mask_gaps', features, masks)
    vectors = (eigenvectors[None] if features.ndim == 2 else eigenvectors).flatten(2)
    with torch.autocast(features.device.type, enabled=False):
        groups = zip(_groups(batch), _groups(flat), _groups(vectors))
        gaps = torch.cat([_mask_gaps(AffinityGraph(group, tau), *parts) for group, *parts in groups])
    return gaps[0] if features.ndim == 2 else gaps


def is_complete(features: Tensor, tau: float = 0.15) -> list[bool]:
    """Return for each image of a batch (B, C, N) whether every pair of tokens is joined: then nothing can be cut."""
    with torch.autocast(features.device.type, enabled=False):
        degrees = torch.cat([AffinityGraph(group, tau).degree for group in _groups(_check(features))])
    return (degrees.amin(1) > degrees.shape[1] - 0.5).tolist()


def _mask_scores(graph: AffinityGraph, masks: Tensor) -> Tensor:
    """Score the masks of graphs that are held together: (B, num_masks, N) -> (B, num_masks)."""
    scores = []
    for mask in masks.unbind(1):
        inside, root = mask.double(), graph.degree.sqrt()
        ends = root * graph.normalised_product(root * inside)  # of each token's edges, the weight that ends in the mask
        cut = ((1 - inside) * ends).sum(1)
        own, other = (1 - cut / (side * graph.degree).sum(1) for side in (inside, 1 - inside))
        scores.append(((own + other) / 2).nan_to_num(0))
        graph.paint(mask)
    return torch.stack(scores, 1)


def _mask_gaps(graph: AffinityGraph, masks: Tensor, vectors: Tensor) -> Tensor:
    """Return the gap of each round of graphs that are held together: (B, num_masks, N) -> (B, num_masks)."""
    gaps = torch.zeros(masks.shape[:2], dtype=torch.float64, device=masks.device)
    for number, mask in enumerate(masks.unbind(1)):
        if found := mask.any(1).nonzero().flatten().tolist():
            gaps[found, number] = eigengap(graph.select(found), vectors[found, number])
            graph.paint(mask)
    return gaps


def _maskcut(
    features: Tensor,
    grid: tuple[int, int],
    tau: float,
    num_masks: int,
    orient: Orientation,
    corner_rule: bool,
    min_gap: float | None,
) -> tuple[Tensor, Tensor]:
    """Run the rounds for a batch (B, C, N) whose graphs are held together; ``min_gap``: see 'auto'."""
    graph = AffinityGraph(features, tau)
    solved = torch.zeros_like(graph.leading)
    previous = torch.ones(len(features), *grid, dtype=torch.bool)
    masks, vectors = [], []
    for number in range(num_masks):
        changed = previous.flatten(1).any(1).nonzero().flatten().tolist()  # after a dropped mask nothing is new
        if changed:
            solved[changed] = second_eigenvector(graph.select(changed))
        x = orient(solved, number).unflatten(1, grid)
        parts = [salient_part(one, corner_rule) for one in x.cpu()]
        if number > 0:
            parts = [_keep_or_drop(part, before) for part, before in zip(parts, previous)]
        previous = torch.stack(parts)
        if min_gap is not None:
            previous &= _is_determined(graph, solved, changed, min_gap)[:, None, None]
        if number < num_masks - 1:
            graph.paint(previous.flatten(1).to(features.device))
        masks.append(previous)
        vectors.append(x)
    counts = torch.stack(masks, 1).cumsum(1)
    disjoint = (counts == 1) & torch.stack(masks, 1)
    return disjoint.to(features.device), torch.stack(vectors, 1)


def _is_determined(graph: AffinityGraph, vectors: Tensor, changed: list[int], min_gap: float) -> Tensor:
    """Return whether a round of 'auto' counts, (B,) bool: images that had a mask and whose gap is large enough."""
    counts = torch.zeros(len(vectors), dtype=torch.bool)
    if changed:
        counts[changed] = (eigengap(graph.select(changed), vectors[changed]) >= min_gap).cpu()
    return counts


def peak_positive(vectors: Tensor, number: int = 0) -> Tensor:
    """Return eigenvectors (B, N) with a positive peak: the first entry of largest magnitude, up to rounding."""
    peak = _first_largest(vectors.abs())
    return vectors * torch.where(vectors.gather(1, peak[:, None]) < 0, -1.0, 1.0)


def salient_part(x: Tensor, corner_rule: bool = True) -> Tensor:
    """Return the object in a bipartition: (h, w) eigenvector -> (h, w) bool (arXiv 2301.11320, Section 3.2).

    Foreground is where x exceeds its mean. It is exchanged for the background if it holds three or more of the four
    corners, or if it lacks the peak of |x|. Of the result, the 4-connected part that holds its own peak is kept. A zero
    vector, that is a graph without two sides, has no object.

    Args:
        x: (h, w), on the CPU.
        corner_rule: Whether the corners count; see :func:`maskcut`.
    """
    if not x.any():
        return torch.zeros_like(x, dtype=torch.bool)
    front = x > x.mean() + TIE * x.abs().max()
    corners = int(front[[0, 0, -1, -1], [0, -1, 0, -1]].sum())
    if (corner_rule and corners >= 3) or not front.flatten()[_first_largest(x.abs().view(1, -1))]:
        front, x = ~front, -x
    parts, _ = ndimage.label(front.numpy())
    parts = torch.from_numpy(parts)
    return parts == parts.flatten()[_first_largest(x.reshape(1, -1))]


def _first_largest(values: Tensor) -> Tensor:
    """Return the index of the largest entry of each row (B, N); of several that are equal to rounding, the first."""
    largest = values.amax(1, keepdim=True)
    near = values >= largest - TIE * values.abs().amax(1, keepdim=True)
    return near.to(torch.uint8).argmax(1)


def _keep_or_drop(mask: Tensor, previous: Tensor) -> Tensor:
    """Return ``mask`` (h, w), or an empty mask if it repeats the previous one or is too small."""
    intersection, union = (mask & previous).sum(), (mask | previous).sum()
    if intersection > MAX_IOU * union or mask.sum() <= MIN_AREA * mask.numel():
        return torch.zeros_like(mask)
    return mask


def _groups(batch: Tensor) -> Sequence[Tensor]:
    """Return the images that are solved together."""
    return batch.split(1) if batch.device.type == 'cpu' else [batch]


def _check_masks(name: str, features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return features (B, C, N) and masks (B, num_masks, N) as batches."""
    batch = _check(features)
    flat = (masks[None] if features.ndim == 2 else masks).flatten(2)
    if (len(flat), flat.shape[-1]) != (len(batch), batch.shape[-1]):
        raise ValueError(f'{name}: masks {tuple(masks.shape)} do not fit features {tuple(features.shape)}')
    return batch, flat


def _check(features: Tensor) -> Tensor:
    """Return ``features`` as a batch (B, C, N)."""
    if features.ndim not in (2, 3) or not features.numel():
        raise ValueError(f'maskcut: features must be (C, N) or (B, C, N) and not empty, not {tuple(features.shape)}')
    batch = features.detach()[None] if features.ndim == 2 else features.detach()
    if batch.shape[-1] > MAX_TOKENS:
        raise ArgumentError(f'maskcut: at most {MAX_TOKENS} tokens, not {batch.shape[-1]}; use a smaller grid')
    finite = batch.isfinite().flatten(1).all(1)
    if not finite.all():
        images = (~finite).nonzero().flatten().tolist()
        raise ArgumentError(
            f'maskcut: the features of image {", ".join(map(str, images))} of the batch hold NaN or inf'
        )
    return batch
