"""Coarse segmentation: how well does the best head of an attention map cover an object?"""

from fractions import Fraction

import torch
from torch import Tensor

from ..errors import ArgumentError

RULES = ('mass', 'top')
Extent = tuple[Fraction | int, Fraction | int]


def binarise(attention: Tensor, rule: str = 'mass', share: float = 0.6) -> Tensor:
    """Return each head's map as a mask.

    'mass': the smallest set of largest entries that holds at least ``share`` of the map's sum (DINO, arXiv 2104.14294).
    'top': the largest ``share`` of all entries (arXiv 2308.16271, Appendix B.3, in its words).

    Args:
        attention: (K, h, w), non-negative.
        rule: 'mass' or 'top'.
        share: Share of the mass or of the entries, between 0 and 1.

    Returns:
        (K, h, w) bool.

    Raises:
        ValueError: Unknown rule, share outside (0, 1], or attention that is NaN or infinite.
    """
    check_rule(rule, share)
    if not attention.isfinite().all():  # the comparison below would leave the mask empty
        raise ArgumentError('the attention holds NaN or inf; check the checkpoint')
    values, order = attention.flatten(1).sort(dim=1, descending=True, stable=True)
    if rule == 'top':
        keep = torch.arange(values.shape[1], device=values.device).expand_as(values) < round(share * values.shape[1])
    else:  # an entry is in the set as long as the larger ones do not hold the share already
        values = values.double()
        keep = values.cumsum(1) - values < share * values.sum(1, keepdim=True)
    return torch.zeros_like(keep).scatter(1, order, keep).view_as(attention)


def check_rule(rule: str, share: float) -> None:
    """Raise ValueError if the rule is unknown or the share outside (0, 1]."""
    if rule not in RULES:
        raise ArgumentError(f'rule must be one of {", ".join(RULES)}; not {rule!r}')
    if not 0 < share <= 1:
        raise ArgumentError(f'share must lie in (0, 1], not {share}')


def head_iou(masks: Tensor, target: Tensor, ignore_index: int = 255, extent: Extent | None = None) -> dict[int, Tensor]:
    """Return the IoU of every mask with each object class of an image.

    IoU_kc = |M_k and T_c| / |M_k or T_c|. M_k is the mask, brought to the target's size by nearest neighbour. T_c are
    the pixels of class c. Pixels with ``ignore_index`` count nowhere.

    No mask is resized. Let n_ic be the number of pixels of class c under token i. Then |M_k and T_c| is the sum of n_ic
    over the tokens i of M_k: one matrix product for all masks and classes.

    Args:
        masks: (K, h, w) bool, K being heads, or heads of several layers.
        target: (H, W), class indices; 0 is background.
        ignore_index: Void label.
        extent: Rows and columns of tokens that the image covers, where parts of the last ones are padding; fractions
            of a token are exact. Default: (h, w).

    Returns:
        {class index: (K,) float64, between 0 and 1} for the classes present, without background and void.
    """
    grid = tuple(masks.shape[1:])
    counts = count_labels(target.to(masks.device), grid, ignore_index, extent or grid)
    masks = masks.flatten(1).double()
    intersection = {index: masks @ pixels.flatten().double() for index, pixels in counts.items()}
    area = sum(intersection.values())
    return {index: both / (area + counts[index].sum() - both) for index, both in intersection.items() if index}


def count_labels(target: Tensor, grid: tuple[int, int], ignore_index: int, extent: Extent) -> dict[int, Tensor]:
    """Return the number of pixels of each label under each token: R T_c C^T.

    T_c are the pixels of label c (H, W). R (h, H) maps rows of pixels to rows of tokens, C (w, W) columns to columns.

    Args:
        target: (H, W), labels.
        grid: (h, w).
        ignore_index: Label that is not counted.
        extent: See :func:`head_iou`.

    Returns:
        {label: (h, w) float32, exact}.
    """
    rows, columns = (
        _token_of_pixel(pixels, tokens, target.device) == torch.arange(count, device=target.device)[:, None]
        for pixels, count, tokens in zip(target.shape, grid, extent)
    )
    rows, columns = rows.float(), columns.float()
    lowest = min(ignore_index, 0)
    labels = torch.bincount((target - lowest).flatten()).nonzero().flatten() + lowest  # a tenth of unique()'s time
    return {label: rows @ (target == label).float() @ columns.T for label in labels.tolist() if label != ignore_index}


def _token_of_pixel(pixels: int, tokens: Fraction | int, device: torch.device) -> Tensor:
    """Return the index of the token over each pixel of a row: floor(i tokens / pixels), in integers."""
    return torch.arange(pixels, device=device) * tokens.numerator // (pixels * tokens.denominator)


def label_tokens(target: Tensor, grid: tuple[int, int], ignore_index: int, extent: Extent) -> Tensor:
    """Return the label of the pixel at each token's centre; void where the centre is beyond the image.

    Args:
        target: (H, W), labels.
        grid: (h, w).
        ignore_index: Void label.
        extent: See :func:`head_iou`.

    Returns:
        (h, w) labels.
    """
    padded = torch.nn.functional.pad(target, (0, 1, 0, 1), value=ignore_index)
    rows, columns = (
        ((2 * torch.arange(count) + 1) * pixels * tokens.denominator // (2 * tokens.numerator)).clamp(max=pixels)
        for count, pixels, tokens in zip(grid, target.shape, extent)
    )
    return padded[rows[:, None], columns]


def best_head_iou(
    attention: Tensor, target: Tensor, rule: str = 'mass', share: float = 0.6, ignore_index: int = 255
) -> dict[int, float]:
    """Return the IoU of the best head with each object class of an image (arXiv 2308.16271, Appendix B.3).

    IoU_c = max over heads k of IoU_kc (:func:`head_iou`) of the binarised maps (:func:`binarise`); protocol of DINO.

    Args:
        attention: (K, h, w), non-negative: attention of [CLS] to the patches, per head.
        target: (H, W), class indices; 0 is background. A target on the token grid scores at token resolution.
        rule: 'mass' or 'top', see ``binarise``.
        share: Share of the mass or of the entries.
        ignore_index: Void label.

    Returns:
        {class index: IoU between 0 and 1} for the classes present, without background and void.

    Raises:
        ValueError: See ``binarise``.
    """
    scores = head_iou(binarise(attention, rule, share), target, ignore_index)
    return {index: values.max().item() for index, values in scores.items()}
