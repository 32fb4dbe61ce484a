"""Coarse segmentation: how well does the best head of an attention map cover an object?"""

import torch
import torch.nn.functional as F
from torch import Tensor

RULES = ('mass', 'top')


def binarise(attention: Tensor, rule: str = 'mass', share: float = 0.6) -> Tensor:
    """Each head's map as a mask.

    'mass': the smallest set of largest entries that holds at least ``share`` of the map's sum (DINO, arXiv 2104.14294).
    'top': the largest ``share`` of all entries (arXiv 2308.16271, Appendix B.3, in its words).

    Args:
        attention: (K, h, w), non-negative.
        rule: 'mass' or 'top'.
        share: Between 0 and 1.

    Returns:
        (K, h, w) bool.

    Raises:
        ValueError: Unknown rule, or share outside (0, 1].
    """
    if rule not in RULES:
        raise ValueError(f'rule must be one of {", ".join(RULES)}; not {rule!r}')
    if not 0 < share <= 1:
        raise ValueError(f'share must lie in (0, 1], not {share}')
    values, order = attention.flatten(1).double().sort(dim=1, descending=True, stable=True)
    if rule == 'top':
        keep = torch.arange(values.shape[1], device=values.device).expand_as(values) < round(share * values.shape[1])
    else:  # an entry is in the set as long as the larger ones do not hold the share already
        keep = values.cumsum(1) - values < share * values.sum(1, keepdim=True)
    return torch.zeros_like(keep).scatter(1, order, keep).view_as(attention)


def best_head_iou(
    attention: Tensor, target: Tensor, rule: str = 'mass', share: float = 0.6, ignore_index: int = 255
) -> dict[int, float]:
    """IoU of the best head with each object class of an image (arXiv 2308.16271, Appendix B.3; protocol of DINO).

    IoU_c = max over heads k of |M_k and T_c| / |M_k or T_c|, with M_k the binarised map, brought to the target's size
    by nearest neighbour, and T_c the pixels of class c. Pixels with ``ignore_index`` count nowhere.

    Args:
        attention: (K, h, w), non-negative: attention of [CLS] to the patches, per head.
        target: (H, W), class indices; 0 is background. A target on the token grid scores at token resolution.
        rule: 'mass' or 'top', see ``binarise``.
        share: Share of the mass or of the entries.
        ignore_index: Void label.

    Returns:
        {class index: IoU between 0 and 1} for the classes present, without background and void.
    """
    masks = binarise(attention, rule, share)
    masks = F.interpolate(masks[None].float(), size=target.shape, mode='nearest')[0].bool()
    masks &= target != ignore_index
    scores = {}
    for index in target.unique().tolist():
        if index in (0, ignore_index):
            continue
        pixels = target == index
        intersection = (masks & pixels).flatten(1).sum(1)
        union = (masks | pixels).flatten(1).sum(1)
        scores[index] = (intersection / union).max().item()
    return scores
