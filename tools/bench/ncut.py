"""Measure one normalised cut beside ncut-pytorch and fastncut: time, memory, agreement with the dense reference."""

import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import track

from projects.crate.datasets.image_list import ImageList, list_images
from projects.crate.engine.config import read_config
from projects.crate.engine.launch import type_name
from projects.crate.errors import UserError
from projects.crate.maskcut import maskcut, peak_positive, salient_part
from projects.crate.models.features import patch_size
from projects.crate.progress import Progress
from projects.crate.pseudo_labels.images import ImageBatches
from projects.crate.pseudo_labels.label import image_pipeline, load_model
from projects.crate.study.tables import plain_table

from .dense_maskcut import dense_maskcut
from .maskcut import TAU, peak_memory
from .timing import interleaved_medians

Cut = Callable[[torch.Tensor], np.ndarray]  # features (C, h * h) -> mask (h, h)
STEPS = 4  # of fastncut's power iteration: its advice for hundreds of channels


def run(args: Namespace) -> tuple[dict, str]:
    cuts = {'ours': ours, 'dense': dense, **libraries()}
    images = list_images(args.images, Path(tempfile.gettempdir()))
    cfg = read_config(args.config, args.cfg_options)
    rows = []
    for side in args.sides:
        features = read_features(cfg, args.checkpoint, images, side)
        chosen = {name: cut for name, cut in cuts.items() if name != 'dense' or side**2 <= args.dense_tokens}
        memory = {name: peak_memory(ready_cut, cut, features[0].numpy()) for name, cut in chosen.items()}
        rows.append(dict(side=side, **measure(chosen, features, args.repeats), memory_mb=memory))
    return dict(grids=rows), report(rows)


def libraries() -> dict[str, Cut]:
    """Return the cuts of the two libraries, by name."""
    try:
        import fastncut  # noqa: F401
        import ncut_pytorch  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'{error.name} is missing: pip install --no-deps ncut-pytorch fastncut fpsample (none is needed elsewhere)'
        ) from error
    return {'ncut-pytorch': ncut_pytorch_cut, 'fastncut': fastncut_cut}


def ours(features: torch.Tensor) -> np.ndarray:
    """Return the first mask of MaskCut."""
    return maskcut(features, _grid(features), TAU, num_masks=1)[0][0].numpy()


def dense(features: torch.Tensor) -> np.ndarray:
    """Return the first mask of the dense reference."""
    return dense_maskcut(features.numpy(), _grid(features), TAU, num_masks=1)[0]


def ncut_pytorch_cut(features: torch.Tensor) -> np.ndarray:
    """Return the salient part of the second eigenvector of ncut-pytorch, with its own graph (a Gaussian kernel).

    It samples tokens (Nystrom) above 8,192 tokens, and below uses all.
    """
    import ncut_pytorch

    eigenvectors, _ = ncut_pytorch.ncut_fn(F.normalize(features, dim=0).T, n_eig=2, device='cpu')
    return _part(eigenvectors[:, 1], features)


def fastncut_cut(features: torch.Tensor) -> np.ndarray:
    """Return the salient part of fastncut's eigenvector; its graph has the cosines themselves as weights."""
    import fastncut

    units = F.normalize(features, dim=0).unflatten(1, _grid(features))
    return _part(fastncut.ncut(units, STEPS, return_all=True)['eigenvector'].flatten(), features)


def _part(vector: torch.Tensor, features: torch.Tensor) -> np.ndarray:
    return salient_part(peak_positive(vector.double()[None])[0].unflatten(0, _grid(features))).numpy()


def _grid(features: torch.Tensor) -> tuple[int, int]:
    side = int(features.shape[1] ** 0.5)
    return side, side


def read_features(cfg: Config, checkpoint: str, images: ImageList, side: int) -> list[torch.Tensor]:
    """Return what the config's MaskCut would cut, (C, side * side) for each image, resized to side x side patches."""
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model = load_model(cfg, checkpoint, Progress('benchmark'))
    height, width = patch_size(model.backbone)
    pipeline = image_pipeline(cfg)
    next(one for one in pipeline if type_name(one['type']) == 'Resize').update(scale=(side * width, side * height))
    batches = ImageBatches(images, pipeline, 1)
    loaded = (batches[number].data for number in track(range(len(batches)), f'features, {side}', transient=True))
    return [model.features(model.data_preprocessor(data)['inputs'])[0].cpu() for data in loaded]


def measure(cuts: Mapping[str, Cut], features: Sequence[torch.Tensor], repeats: int) -> dict:
    """Return median seconds and mean IoU of the mask, each by name of the cut.

    Seconds: medians over the images, of medians over interleaved repeats. The IoU is with the mask of 'dense', or of
    'ours' where that is too large. Two empty masks have IoU 1.
    """
    seconds, agreement = [], []
    for image in track(features, f'{features[0].shape[1]} tokens', transient=True):
        seconds.append(interleaved_medians({name: partial(cut, image) for name, cut in cuts.items()}, repeats))
        masks = {name: cut(image) for name, cut in cuts.items()}
        reference = masks.get('dense', masks['ours'])
        agreement.append({name: iou(mask, reference) for name, mask in masks.items()})
    return dict(
        seconds={name: statistics.median(one[name] for one in seconds) for name in cuts},
        iou={name: statistics.mean(one[name] for one in agreement) for name in cuts},
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two masks; 1 if both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def ready_cut(cut: Cut, features: np.ndarray) -> Callable[[], object]:
    """Return a cut of some features, with its libraries loaded."""
    image = torch.from_numpy(features)
    cut(image[:, :100])
    return partial(cut, image)


def report(rows: Sequence[Mapping]) -> str:
    header = ['tokens', 'method', 'seconds', 'times ours', 'MB', 'IoU']
    lines = []
    for row in rows:
        for name, seconds in row['seconds'].items():
            ratio = seconds / row['seconds']['ours']
            numbers = f'{seconds:.4g}', f'{ratio:.2f}', f'{row["memory_mb"][name]:.0f}', f'{row["iou"][name]:.3f}'
            lines.append((str(row['side'] ** 2), name, *numbers))
        lines.append(None)
    return plain_table(header, lines[:-1]) + "\nIoU: with the dense reference's mask, or ours where it did not run."
