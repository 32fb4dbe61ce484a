"""What an image costs the pseudo-label tool, from file to JSON, by stage."""

import cProfile
import pstats
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from mmengine.config import Config
from rich import box
from rich.table import Table

from projects.crate.datasets.layouts import coco_annotation
from projects.crate.maskcut import maskcut
from projects.crate.models import MaskCutDetector
from projects.crate.pseudo_labels import ImageList, factory, make_pseudo_labels
from projects.crate.pseudo_labels.images import ImageBatches
from projects.crate.pseudo_labels.parts import Parts

from .text import plain_text

START = 'start: the model, its weights, the list'
# stage -> the functions that do it; none of them calls another
STAGES: dict[str, tuple[Callable, ...]] = {
    'read, decode, resize': (ImageBatches.__getitem__,),
    'forward pass': (MaskCutDetector._features,),
    'MaskCut': (maskcut,),
    'masks in the size of the image': (MaskCutDetector._predict,),
    'run-length encoding': (coco_annotation,),
    'write and merge': (Parts.write, Parts.merge),
}
IMAGENET_1K = 1_281_167  # images of its training set


def measure(cfg: Config, checkpoint: str, images: ImageList) -> dict[str, float]:
    """Seconds of every stage for all images, in one process with one thread that also loads the images.

    The real tool runs, into a folder that is removed, under Python's profiler; what that adds to a stage is little,
    since they spend their time in compiled code. A GPU's forward pass is waited for in 'other', which looks for NaN.

    Args:
        cfg: As for :func:`projects.crate.pseudo_labels.make_pseudo_labels`.
        checkpoint: Path of the weights.
        images: The images.

    Returns:
        Stage -> seconds; 'other' is the rest of the run after its start.
    """
    if cfg.get('test_dataloader'):
        cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        profile.runcall(make_pseudo_labels, cfg, checkpoint, images, Path(folder) / 'out.json')
    stats = pstats.Stats(profile).stats
    seconds = {name: sum(_seconds(stats, part) for part in parts) for name, parts in STAGES.items()}
    start = _seconds(stats, factory._open) + _seconds(stats, factory.load_model)
    other = _seconds(stats, make_pseudo_labels) - start - sum(seconds.values())
    return {START: start, **seconds, 'other': other}


def _seconds(stats: Mapping, function: Callable) -> float:
    """Of all calls, with what they called."""
    code = function.__code__
    found = stats.get((code.co_filename, code.co_firstlineno, code.co_name))
    return found[3] if found else 0.0


def report(seconds: Mapping[str, float], number: int) -> str:
    """The measurements as text.

    Args:
        seconds: What :func:`measure` returned.
        number: Of the images.
    """
    per_image = {stage: value / number for stage, value in seconds.items() if stage != START}
    total = sum(per_image.values())
    table = Table(box=box.SIMPLE)
    for column in ('stage', 'ms/image', 'share'):
        table.add_column(column, justify='left' if column == 'stage' else 'right')
    for stage, value in per_image.items():
        table.add_row(stage, f'{1e3 * value:.1f}', f'{value / total:.1%}')
    table.add_section()
    table.add_row('all', f'{1e3 * total:.1f}', '')
    days = IMAGENET_1K * total / 86400
    return '\n'.join(
        [
            plain_text(table),
            f'{number} images, one process, one thread: {1 / total:.3g} images/s after {seconds[START]:.1f} s of start',
            f'ImageNet-1k ({IMAGENET_1K:,} images) would take {days:.3g} days of such a process',
        ]
    )
