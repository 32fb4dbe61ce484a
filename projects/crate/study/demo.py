"""The demo's page: photographs seen by two models; then two small classifiers before and after training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor, nn

from ..checkpoints import fill, read_weights
from ..evaluation import best_head_iou
from .attention import attention_figure
from .curves import LAYER, curve_figure, read_scalars
from .images import read_images
from .observer import Observer
from .page import write_page
from .tables import Table

NUM_PICTURES = 5


@dataclass(frozen=True)
class TrainedRun:
    """One training with one seed, as ``tools/train.py`` left it."""

    config: Config
    seed: int
    work_dir: Path  # folder of the logs
    checkpoint: Path  # the last one
    accuracy: float  # top-1 on the validation images in percent, from tools/test.py

    def build(self, trained: bool) -> nn.Module:
        """Return the classifier in evaluation mode, trained or as the seed made it before the first step."""
        init_default_scope(self.config.default_scope)
        set_random_seed(self.seed)
        model = MODELS.build(self.config.model)
        if trained:
            fill(model, read_weights(str(self.checkpoint)), absent=())
        return model.eval()


@dataclass
class ModelResult:
    """Results of one architecture."""

    parameters: int
    accuracies: list[float]  # top-1 in percent, per seed
    before: np.ndarray  # best-head IoU at initialisation, (seeds, layers)
    after: np.ndarray  # best-head IoU after training
    loss: tuple[np.ndarray, np.ndarray]  # steps and training loss of the first seed
    pictures: list[np.ndarray]  # (H, W, 3) uint8 each
    objects: list[np.ndarray]  # masks (H, W) of the pictures
    # 'before' and 'after' -> attention (K, h, w) of the last layer, per picture; first seed
    maps: dict[str, list[np.ndarray]]


def measure(runs: Sequence[TrainedRun], target_of: Callable[[str], Tensor]) -> ModelResult:
    """Measure one architecture by its trainings, one per seed.

    ``target_of`` returns the object mask (H, W) of an image path, 1 on the object.
    """
    paths, pictures = _validation_images(runs[0].config)
    images = [read_images(Path(path))[0][1] for path in paths]
    targets = [target_of(path) for path in paths]
    iou, last_maps = dict(before=[], after=[]), {}
    for run in runs:
        for state in iou:
            model = run.build(trained=state == 'after')
            observer = Observer(model.backbone, run.config.data_preprocessor)
            seen = [observer.attention(image, range(observer.num_layers)) for image in images]
            scores = [[_image_iou(maps, target) for maps in layers.values()] for layers, target in zip(seen, targets)]
            iou[state].append(np.mean(scores, axis=0))
            if run is runs[0]:
                last_maps[state] = [seen[index][observer.num_layers - 1] for index in pictures]
    return ModelResult(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        accuracies=[run.accuracy for run in runs],
        before=np.array(iou['before']),
        after=np.array(iou['after']),
        loss=read_scalars(runs[0].work_dir, 'loss'),
        pictures=[images[index] for index in pictures],
        objects=[targets[index].numpy() for index in pictures],
        maps=last_maps,
    )


def _image_iou(maps: np.ndarray, target: Tensor) -> float:
    return float(np.mean([*best_head_iou(torch.from_numpy(maps), target).values()]))


def _validation_images(config: Config) -> tuple[list[str], list[int]]:
    """Return the paths of the validation images, and the positions of the pictures: the first of the first classes."""
    init_default_scope(config.default_scope)
    dataset = Runner.build_dataloader(config.val_dataloader).dataset
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    labels = [info['gt_label'] for info in infos]
    return [info['img_path'] for info in infos], [labels.index(label) for label in sorted({*labels})[:NUM_PICTURES]]


def demo_page(
    path: Path,
    results: Mapping[str, ModelResult],
    config: Config | None,
    commands: Sequence[str],
    photos: Mapping[str, Figure] | None = None,
    credits: Sequence[str] = (),
    measured: Table | None = None,
    to_train: bool = False,
) -> None:
    """Write the page.

    ``photos`` are the figures of ``last_layer_figures``, with the weights of this repository, ``credits`` the authors
    of the photographs, and ``measured`` numbers of these weights. Before the trainings there are no ``results`` and no
    ``config`` of one of them; with ``to_train`` the page then says that they follow.
    """
    content = dict(photos=photos, credits=credits, measured=measured, config=config, to_train=to_train)
    if results:
        losses = {name: result.loss for name, result in results.items()}
        maps = {name: attention_figure(each.pictures, each.maps, each.objects) for name, each in results.items()}
        content.update(
            summary=_summary(results),
            risen=all((each.after > each.before)[:, -1].all() for each in results.values()),
            seeds=len(next(iter(results.values())).accuracies),
            iou=_iou_figure(results),
            loss=curve_figure(losses, 'iteration', 'training loss'),
            attention=maps,
            commands=commands,
        )
    write_page(path, 'demo', **content)


def _summary(results: Mapping[str, ModelResult]) -> Table:
    header = ['model', 'parameters', 'top-1 accuracy (%)', 'IoU, last layer, before', 'after', 'IoU, best layer, after']
    rows = []
    for name, result in results.items():
        ious = (result.before[:, -1], result.after[:, -1], result.after.max(axis=1))
        cells = [mean_and_spread(result.accuracies, 1), *(mean_and_spread(iou, 3) for iou in ious)]
        rows.append([name, f'{result.parameters:,}', *cells])
    return Table(header, rows)


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Return mean and standard deviation over seeds; of one seed, its value."""
    text = f'{np.mean(values):.{digits}f}'
    return text if len(values) == 1 else f'{text} ± {np.std(values, ddof=1):.{digits}f}'


def _iou_figure(results: Mapping[str, ModelResult]) -> Figure:
    curves = {}
    for name, result in results.items():
        layers = np.arange(result.after.shape[1])
        curves[f'{name}, trained'] = (layers, result.after.mean(axis=0))
        curves[f'{name}, before training'] = (layers, result.before.mean(axis=0))
    dashed = [name for name in curves if name.endswith('before training')]
    return curve_figure(curves, LAYER, 'IoU of the best head', dashed)
