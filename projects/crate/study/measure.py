"""All measurements of a checkpoint on the images at hand."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from mmengine.config import Config
from scipy import stats

from ..datasets.image_list import spread_evenly
from ..errors import UserError
from ..registration import installed_libraries
from .checkpoint_model import CheckpointModel
from .images import StudyImages
from .masks import cut_masks
from .noise import noise_grid
from .observer import Observer
from .pca import first_components
from .sparse_rate import layer_rates
from .sweep import layer_sweep

RULES = dict(mass='60% of the mass', top='top 60% of patches')  # how an attention map becomes a mask, in words
RATE_IMAGES = 32  # enough for a mean and its spread
NUM_RESAMPLES = 1000  # of the images, for the interval of an AP
# name in the paper's tables -> name in ClassAgnosticCocoMetric
PRECISIONS = {
    f'{kind} {label}': f'coco/{key}_mAP{item}'
    for kind, key in (('box', 'bbox'), ('mask', 'segm'))
    for label, item in (('AP50', '_50'), ('AP75', '_75'), ('AP', ''))
}
NOISE = dict(stds=(25.0, 75.0), shares=(0.25, 0.75))


@dataclass(frozen=True)
class CoarseSegmentation:
    """IoU with the classes in percent, of the best head unless heads are told apart (``BestHeadIoU``); L layers."""

    mean: np.ndarray  # mIoU, (L,)
    heads: np.ndarray  # mIoU of one head for all images, (L, K)
    classes: dict[str, np.ndarray]  # name -> mean over the images with that class, (L,)
    images: np.ndarray  # mean over the classes of each image, (L, n); images without a class are left out


@dataclass(frozen=True)
class ModelMeasurements:
    """Measurements of one model; lists have an entry per picture."""

    model: CheckpointModel
    architecture: str  # in words
    num_parameters: int  # of the backbone
    patch_size: tuple[int, int]  # (height, width) in pixels
    coarse: dict[str, CoarseSegmentation]  # by rule; empty without a data set in VOC layout
    # layers (n,), and metric -> values (n,) from 0 to 1, '{metric}_low' and '{metric}_high' being its 95% interval
    # if there are several images; None without a data set in COCO layout
    maskcut: tuple[np.ndarray, dict[str, np.ndarray]] | None
    rates: dict[str, np.ndarray]  # 'compression' and 'nonzero', (L, images)
    layer: int  # of the pictures, not negative
    attention: list[np.ndarray]  # (K, h, w) each
    colours: list[np.ndarray]  # first_components, (h, w, 3) from 0 to 1 each
    masks: list[np.ndarray]  # MaskCut, (m, H, W) bool each
    # noise_grid of the first picture: images (S, P, H, W, 3), maps (S, P, K, h, w)
    noise: tuple[np.ndarray, np.ndarray]


def measure_model(
    model: CheckpointModel,
    images: StudyImages,
    out: Path,
    rules: Iterable[str] = RULES,
    layer: int = -1,
    all_layers: bool = False,
    num_workers: int = 2,
    facet: str | None = None,
    centred: bool = False,
) -> ModelMeasurements:
    """Measure a model; results of an earlier call with the same ``out`` are taken from there.

    ``rules`` say how an attention map becomes a mask. ``layer`` is the layer for MaskCut and pictures, 0-based;
    negative ones count from the end. With ``all_layers`` MaskCut runs with every layer. ``facet`` and ``centred`` are
    as in :class:`projects.crate.models.MaskCutDetector`.
    """
    observer = Observer.from_config(model.config, str(model.checkpoint))
    if not -observer.num_layers <= layer < observer.num_layers:
        raise UserError(f'{model.checkpoint}: no layer {layer}: it has {observer.num_layers}, the first is 0')
    layer %= observer.num_layers
    coarse, cut = {}, None
    if images.voc is not None:
        cfg = images.voc.measurement(model, images.size, num_workers)
        coarse = coarse_segmentation(cfg, model, out, rules)
    if images.coco is not None:
        cfg = images.coco.measurement(model, images.size, num_workers)
        cfg.test_evaluator.num_resamples = NUM_RESAMPLES if len(images.coco.chosen) > 1 else 0
        if facet or centred:  # a kept result without them stays what it is
            cfg.model.update(facet=facet, centred=centred)
        cut = layer_sweep(cfg, str(model.checkpoint), out, None if all_layers else [layer])
    data = images.voc or images.coco
    some = (data.chosen[i] for i in spread_evenly(len(data.chosen), RATE_IMAGES))
    features = [observer.features(image, [layer], facet, centred)[layer] for image in images.pictures]
    width = features[0].shape[-1]
    return ModelMeasurements(
        model=model,
        architecture=f'{observer.num_layers} layers of {observer.parts}, {observer.num_heads} heads, width {width}',
        num_parameters=sum(parameter.numel() for parameter in observer.backbone.parameters()),
        patch_size=observer.patch_size,
        coarse=coarse,
        maskcut=cut,
        rates=layer_rates(observer, ((data.images[i], data.read(i, images.size)) for i in some))[1],
        layer=layer,
        attention=[observer.attention(image, [layer])[layer] for image in images.pictures],
        colours=first_components(features)[1],
        masks=[cut_masks(grid, observer.patch_size, images.size) for grid in features],
        noise=noise_grid(observer, images.pictures[0], layer, **NOISE),
    )


def coarse_segmentation(
    cfg: Config, model: CheckpointModel, out: Path, rules: Iterable[str], label: str = ''
) -> dict[str, CoarseSegmentation]:
    """Measure all rules and all layers in one pass over the images; return rule -> result.

    ``cfg`` is the result of ``ImageSet.measurement`` for a data set in VOC layout; its evaluator is replaced. For
    ``out`` and ``label``, see :func:`layer_sweep`.
    """
    cfg.test_evaluator = [dict(cfg.test_evaluator, rule=rule, prefix=rule, per_image=True) for rule in rules]
    _, metrics = layer_sweep(cfg, str(model.checkpoint), out, label=label)
    results = {}
    for rule in rules:
        start = f'{rule}/'
        found = {name.removeprefix(start): values for name, values in metrics.items() if name.startswith(start)}
        mean = found.pop('mIoU')
        heads, images = (
            np.stack([found.pop(name) for name in [*found] if name.startswith(kind)], axis=1)
            for kind in ('head_', 'image_')
        )
        results[rule] = CoarseSegmentation(mean, heads, found, images)
    return results


def bootstrap_interval(values: np.ndarray) -> tuple[float, ...]:
    """Return the 95% interval of a mean (n,) over images drawn again with replacement; empty for a single image."""
    if len(values) < 2:
        return ()
    found = stats.bootstrap((values,), np.mean, n_resamples=2000, method='percentile', random_state=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the numbers depend on."""
    names = ('torch', 'mmengine', 'mmcv', *installed_libraries())
    return {'Python': platform.python_version(), **{name: import_module(name).__version__ for name in names}}
