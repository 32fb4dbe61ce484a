"""The demo's page: two small classifiers, side by side, before and after training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor, nn

from ..checkpoints import fill, read_weights
from ..evaluation.emergence import best_head_iou_by_layer, cls_attention_maps
from . import page
from .attention_figure import attention_figure
from .curves import curve_figure, read_scalars

NUM_PICTURES = 5
PHOTOS = (
    'Other models than above, with weights that lie in this repository (docs/experiments): trained on classes of small '
    'photographs, each for about an hour of one CPU core. `python tools/demo.py --photos FOLDER` shows them yours.'
)


@dataclass(frozen=True)
class TrainedRun:
    """One training with one seed, as ``tools/train.py`` left it.

    Args:
        config: The training's config.
        seed: Its seed.
        work_dir: Where it logged.
        checkpoint: Its last checkpoint.
        accuracy: Top-1 on the validation images in percent, as ``tools/test.py`` printed it.
    """

    config: Config
    seed: int
    work_dir: Path
    checkpoint: Path
    accuracy: float

    def build(self, trained: bool) -> nn.Module:
        """The classifier in evaluation mode, trained or as the seed made it before the first step."""
        init_default_scope(self.config.default_scope)
        set_random_seed(self.seed)
        model = MODELS.build(self.config.model)
        if trained:
            fill(model, read_weights(str(self.checkpoint)), absent=())
        return model.eval()


@dataclass
class ModelResult:
    """What the page shows of one architecture.

    Attributes:
        parameters: Number of parameters.
        accuracies: Top-1 in percent, per seed.
        before: Best-head IoU, (seeds, layers), at initialisation.
        after: The same after training.
        loss: Steps and training loss of the first seed.
        maps: 'before' and 'after' -> attention (K, h, w) of the last layer, per picture; first seed.
    """

    parameters: int
    accuracies: list[float]
    before: np.ndarray
    after: np.ndarray
    loss: tuple[np.ndarray, np.ndarray]
    maps: dict[str, list[np.ndarray]] = field(default_factory=dict)


def measure(runs: Sequence[TrainedRun], target_of: Callable[[str], Tensor]) -> ModelResult:
    """Everything the page says of one architecture.

    Args:
        runs: Its trainings, one per seed.
        target_of: Image path -> object mask (H, W), 1 on the object.
    """
    iou: dict[bool, list[list[float]]] = {False: [], True: []}
    maps = {}
    init_default_scope(runs[0].config.default_scope)
    loader = Runner.build_dataloader(runs[0].config.val_dataloader)
    for run in runs:
        for trained in (False, True):
            model = run.build(trained)
            iou[trained].append(best_head_iou_by_layer(model, loader, target_of))
            if run is runs[0]:
                last = len(model.backbone.layers) - 1
                attention = cls_attention_maps(model, picture_batch(loader.dataset), [last])[last]
                maps['after' if trained else 'before'] = list(attention.numpy())
    return ModelResult(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        accuracies=[run.accuracy for run in runs],
        before=np.array(iou[False]),
        after=np.array(iou[True]),
        loss=read_scalars(runs[0].work_dir, 'loss'),
        maps=maps,
    )


def picture_batch(dataset) -> dict:
    """A batch of one image of each of the first classes, always the same."""
    return default_collate([dataset[index] for index in picture_indices(dataset)])


def picture_indices(dataset) -> list[int]:
    """The first image of each of the first classes."""
    labels = [dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))]
    return [labels.index(label) for label in sorted(set(labels))[:NUM_PICTURES]]


def picture_paths(config: Config) -> list[str]:
    """Where the images of ``ModelResult.maps`` lie, in their order."""
    init_default_scope(config.default_scope)
    dataset = Runner.build_dataloader(config.val_dataloader).dataset
    return [dataset.get_data_info(index)['img_path'] for index in picture_indices(dataset)]


def demo_page(
    path: Path,
    results: Mapping[str, ModelResult],
    about: str,
    commands: Sequence[str],
    images: Sequence,
    photos: Mapping[str, Figure] | None = None,
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        results: 'CRATE' -> its result, and so on.
        about: What was trained on what, in a sentence or two.
        commands: What was run, as typed.
        images: The pictures, (H, W, 3) uint8 and mask (H, W) each, in the order of ``ModelResult.maps``.
        photos: What :func:`.experiment.pictures` drew with the weights of this repository.
    """
    seeds = len(next(iter(results.values())).accuracies)
    parts = [
        page.paragraph(about),
        page.paragraph(
            'Does a classifier that was only told the class of each image look at the object? Each head of a layer '
            'gives a map: how much [CLS] attends to each patch. The smallest part of the map with 60% of its mass '
            "is compared with the object's mask; the best head of each image counts (IoU, intersection over union)."
        ),
        page.table(*summary(results)),
        page.paragraph(reach(seeds)),
        page.heading('Layer by layer, and the training'),
        page.side_by_side(
            page.picture(iou_figure(results), 'IoU of the best head with the object, mean over the validation images'),
            page.picture(
                curve_figure({name: result.loss for name, result in results.items()}, 'iteration', 'training loss'),
                'Training loss, seed 0',
            ),
        ),
    ]
    rgb, outlines = zip(*images)
    for name, result in results.items():
        groups = {'before': result.maps['before'], 'after': result.maps['after']}
        caption = (
            f'{name}, last layer: attention of [CLS] per head, before and after training. White: the object, which the '
            'model was never shown. Each map is scaled to its own maximum; a square is a patch.'
        )
        parts += [page.heading(f'What {name} looks at'), page.picture(attention_figure(rgb, groups, outlines), caption)]
    if photos:
        parts += [
            page.heading('On photographs'),
            page.paragraph(PHOTOS),
            page.picture(photos['attention'], 'Attention of [CLS] per head, last layer; each map has its own scale.'),
            page.picture(photos['masks'], 'Masks of MaskCut: red the first, blue the second, yellow the third.'),
        ]
    parts += [page.heading('The commands that made this page'), page.listing(commands)]
    page.write_page(path, 'Segmentation emerges in a white-box transformer: the demo', parts)


def summary(results: Mapping[str, ModelResult]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the page's table."""
    header = ['model', 'parameters', 'top-1 accuracy (%)', 'IoU, last layer, before', 'after', 'IoU, best layer, after']
    rows = [
        [
            name,
            f'{result.parameters:,}',
            spread(result.accuracies, 1),
            spread(result.before[:, -1], 3),
            spread(result.after[:, -1], 3),
            spread(result.after.max(axis=1), 3),
        ]
        for name, result in results.items()
    ]
    return header, rows


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over seeds; of one seed, its value."""
    text = f'{np.mean(values):.{digits}f}'
    return text if len(values) == 1 else f'{text} ± {np.std(values, ddof=1):.{digits}f}'


def reach(seeds: int) -> str:
    """How far the numbers carry."""
    if seeds == 1:
        runs = (
            'One run of each model, seed 0: differences of a few hundredths of IoU may be chance. '
            '`python tools/demo.py --seeds 3` repeats everything and prints the spread.'
        )
    else:
        runs = f'Mean ± standard deviation over {seeds} seeds.'
    return (
        f'{runs} These are toy models on generated pictures. They show the effect the paper describes; they say '
        'nothing about its size on photographs.'
    )


def iou_figure(results: Mapping[str, ModelResult]):
    """IoU against the layer, dashed before training."""
    curves = {}
    for name, result in results.items():
        layers = np.arange(result.after.shape[1])
        curves[f'{name}, trained'] = (layers, result.after.mean(axis=0))
        curves[f'{name}, before training'] = (layers, result.before.mean(axis=0))
    dashed = [name for name in curves if name.endswith('before training')]
    return curve_figure(curves, 'layer (0-based)', 'IoU of the best head', dashed)
