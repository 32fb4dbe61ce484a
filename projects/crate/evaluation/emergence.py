"""How well attention covers objects, layer by layer."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

from ..models.attention_segmentor import AttentionSegmentor
from ..models.unwrap import unwrap
from .best_head import best_head_iou


def cls_attention_maps(model: nn.Module, batch: dict, layers: Sequence[int]) -> dict[int, Tensor]:
    """Return the attention of [CLS] to the patches, {layer: (B, K, h, w)}, each map with sum 1.

    Args:
        model: Classifier of mmpretrain with a CRATE backbone.
        batch: Batch of its data loader.
        layers: 0-based indices.
    """
    images = model.data_preprocessor(batch, training=False)['inputs']
    return AttentionSegmentor(model.backbone, layers=layers)(images)


def best_head_iou_by_layer(model: nn.Module, loader: Iterable[dict], target_of: Callable[[str], Tensor]) -> list[float]:
    """Return the mean IoU of the best head with the objects, per layer (:func:`best_head_iou`, rule 'mass').

    Args:
        model: Classifier of mmpretrain with a CRATE backbone.
        loader: Its batches; each sample knows its ``img_path``.
        target_of: Image path -> (H, W) class indices, 0 background, 255 void.

    Returns:
        Per layer, the mean over the images of the mean over an image's classes.
    """
    scores: list[list[float]] = [[] for _ in unwrap(model.backbone).layers]
    for batch in loader:
        targets = [target_of(sample.img_path) for sample in batch['data_samples']]
        for layer, maps in cls_attention_maps(model, batch, range(len(scores))).items():
            for attention, target in zip(maps, targets):
                values = best_head_iou(attention, target).values()
                scores[layer].append(sum(values) / len(values))
    return [sum(values) / len(values) for values in scores]
