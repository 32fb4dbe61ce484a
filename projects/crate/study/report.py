"""Everything that the report says of a checkpoint, measured on the images at hand."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from scipy import stats

from ..datasets.choice import spread_evenly
from ..errors import UserError
from ..evaluation.best_head import RULES
from ..maskcut import maskcut
from ..maskcut.postprocess import image_masks
from ..registration import installed_libraries
from .material import Material
from .noise import noise_grid
from .observer import Observer
from .pca import first_components
from .sparse_rate import layer_rates
from .sweeps import layer_sweep
from .trained import TrainedModel

RATE_IMAGES = 32  # enough for a mean and its spread
NUM_RESAMPLES = 1000  # of the images, for the interval of an AP
# as the paper's tables name them -> as ClassAgnosticCocoMetric does
PRECISIONS = {
    f'{kind} {label}': f'coco/{key}_mAP{item}'
    for kind, key in (('box', 'bbox'), ('mask', 'segm'))
    for label, item in (('AP50', '_50'), ('AP75', '_75'), ('AP', ''))
}
NOISE = dict(stds=(25.0, 75.0), shares=(0.25, 0.75))


@dataclass(frozen=True)
class CoarseSegmentation:
    """IoU with the classes in percent, of the best head unless heads are told apart (``BestHeadIoU``); L layers.

    Attributes:
        mean: mIoU, (L,).
        heads: One head for all images, (L, K).
        classes: Name -> mean over the images with that class, (L,).
        images: Mean over the classes of each image, (L, n); images without a class are none of the n.
    """

    mean: np.ndarray
    heads: np.ndarray
    classes: dict[str, np.ndarray]
    images: np.ndarray


@dataclass(frozen=True)
class ModelReport:
    """What the page shows of one model; lists have an entry per picture.

    Attributes:
        model: The checkpoint.
        architecture: In words.
        num_parameters: Of the backbone.
        patch_size: (height, width) in pixels.
        coarse: Rule -> coarse segmentation; empty without a data set in VOC layout.
        maskcut: Layers (n,), and metric -> values (n,) from 0 to 1, with '{metric}_low' and '{metric}_high' of its 95%
            interval if there are several images; None without a data set in COCO layout.
        rates: 'compression' and 'nonzero', (L, images).
        layer: Of the pictures, not negative.
        attention: (K, h, w) each.
        colours: PCA, (h, w, 3) from 0 to 1 each (``first_components``).
        masks: MaskCut, (m, H, W) bool each.
        noise: The first picture with noise (S, P, H, W, 3) and its maps (S, P, K, h, w), see ``noise_grid``.
    """

    model: TrainedModel
    architecture: str
    num_parameters: int
    patch_size: tuple[int, int]
    coarse: dict[str, CoarseSegmentation]
    maskcut: tuple[np.ndarray, dict[str, np.ndarray]] | None
    rates: dict[str, np.ndarray]
    layer: int
    attention: list[np.ndarray]
    colours: list[np.ndarray]
    masks: list[np.ndarray]
    noise: tuple[np.ndarray, np.ndarray]


def measure_model(
    model: TrainedModel,
    material: Material,
    out: Path,
    rules: Sequence[str] = RULES,
    layer: int = -1,
    all_layers: bool = False,
    num_workers: int = 2,
) -> ModelReport:
    """Measure a model; what an earlier call with the same ``out`` has measured is taken from there.

    Args:
        model: The checkpoint.
        material: What it is measured on.
        out: Folder for the measurements.
        rules: How an attention map becomes a mask.
        layer: Of MaskCut and of the pictures, 0-based; negative ones count from the end.
        all_layers: MaskCut with every layer.
        num_workers: Processes that load images.

    Raises:
        UserError: The checkpoint does not fit its config, or the backbone has no such layer.
    """
    observer = Observer.from_config(model.config, str(model.checkpoint))
    if not -observer.num_layers <= layer < observer.num_layers:
        raise UserError(f'{model.checkpoint}: no layer {layer}: it has {observer.num_layers}, the first is 0')
    layer %= observer.num_layers
    coarse, cut = {}, None
    if material.voc is not None:
        cfg = material.voc.measurement(model, material.size, num_workers)
        coarse = coarse_segmentation(cfg, model, out, rules)
    if material.coco is not None:
        cfg = material.coco.measurement(model, material.size, num_workers)
        cfg.test_evaluator.num_resamples = NUM_RESAMPLES if len(material.coco.chosen) > 1 else 0
        cut = layer_sweep(cfg, str(model.checkpoint), out, None if all_layers else [layer])
    pictures = material.pictures
    features = [observer.features(image, [layer])[layer] for image in pictures]
    return ModelReport(
        model=model,
        architecture=_architecture(observer),
        num_parameters=sum(parameter.numel() for parameter in observer.backbone.parameters()),
        patch_size=observer.patch_size,
        coarse=coarse,
        maskcut=cut,
        rates=_rates(observer, material),
        layer=layer,
        attention=[observer.attention(image, [layer])[layer] for image in pictures],
        colours=first_components(features)[1],
        masks=[cut_masks(grid, observer.patch_size, material.size) for grid in features],
        noise=noise_grid(observer, pictures[0], layer, **NOISE),
    )


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """95% interval of a mean (n,) over images drawn again with replacement; n is at least 2."""
    found = stats.bootstrap((values,), np.mean, n_resamples=2000, method='percentile', random_state=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def versions() -> dict[str, str]:
    """Of Python and of the packages that the numbers depend on."""
    names = ('torch', 'mmengine', 'mmcv', *installed_libraries())
    return {'Python': platform.python_version(), **{name: import_module(name).__version__ for name in names}}


def coarse_segmentation(
    cfg: Config, model: TrainedModel, out: Path, rules: Sequence[str], label: str = ''
) -> dict[str, CoarseSegmentation]:
    """All rules and all layers from one pass over the images.

    Args:
        cfg: What ``DataSet.measurement`` returned for a data set in VOC layout; its evaluator is replaced.
        model: The checkpoint.
        out: Folder for the measurement, from where a second call takes it.
        rules: How an attention map becomes a mask.
        label: As in :func:`layer_sweep`.

    Returns:
        Rule -> what was found.
    """
    cfg.test_evaluator = [dict(cfg.test_evaluator, rule=rule, prefix=rule, per_image=True) for rule in rules]
    _, metrics = layer_sweep(cfg, str(model.checkpoint), out, label=label)
    results = {}
    for rule in rules:
        found = {
            name.removeprefix(f'{rule}/'): values for name, values in metrics.items() if name.startswith(f'{rule}/')
        }
        mean = found.pop('mIoU')
        groups = {
            kind: np.stack([found.pop(name) for name in [*found] if name.startswith(f'{kind}_')], axis=1)
            for kind in ('head', 'image')
        }
        results[rule] = CoarseSegmentation(mean, groups['head'], found, groups['image'])
    return results


def _rates(observer: Observer, material: Material) -> dict[str, np.ndarray]:
    """Compression and sparsity on some of the images."""
    data = material.voc or material.coco
    some = (data.chosen[i] for i in spread_evenly(len(data.chosen), RATE_IMAGES))
    return layer_rates(observer, ((data.images[i], data.read(i, material.size)) for i in some))[1]


def _architecture(observer: Observer) -> str:
    backbone, layer = observer.backbone, observer.backbone.layers[0]
    kinds = f'{type(layer.attn).__name__} and {type(layer.ffn).__name__}'
    return f'{observer.num_layers} layers of {kinds}, {observer.num_heads} heads, width {backbone.embed_dims}'


def cut_masks(features: np.ndarray, patch_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """What MaskCut finds in the features (h, w, d) of an image of ``size`` (H, W): (m, H, W) bool."""
    h, w, _ = features.shape
    masks, _ = maskcut(torch.from_numpy(features).flatten(0, 1).T, (h, w))
    return image_masks(masks.numpy(), patch_size, size, size)
