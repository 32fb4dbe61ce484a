"""Measure the pseudo-label tool by stage, from image file to JSON."""

import cProfile
import pstats
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from mmengine.config import Config

from projects.crate.coco import coco_annotation
from projects.crate.datasets.image_list import ImageList, list_images
from projects.crate.engine.config import read_config
from projects.crate.maskcut.affinity import AffinityGraph
from projects.crate.maskcut.eigen import second_eigenvector
from projects.crate.models import MaskCutDetector
from projects.crate.pseudo_labels import label, make_pseudo_labels
from projects.crate.pseudo_labels.images import ImageBatches
from projects.crate.pseudo_labels.parts import Parts
from projects.crate.study.tables import plain_table

START = 'start: the model, its weights, the list'
# stage -> the functions that do it; none of them calls another
STAGES: dict[str, tuple[Callable, ...]] = {
    'read, decode, resize': (ImageBatches.__getitem__,),
    'forward pass': (MaskCutDetector.read,),
    'graph': (AffinityGraph.__init__, AffinityGraph.paint),
    'eigenvectors': (second_eigenvector,),
    'masks in the size of the image': (MaskCutDetector._predict,),
    'run-length encoding': (coco_annotation,),
    'write and merge': (Parts.write, Parts.merge),
}
IMAGENET_1K = 1_281_167  # images of its training set


def run(args: Namespace) -> tuple[dict, str]:
    images = list_images(args.images, Path(tempfile.gettempdir()))
    seconds = measure(read_config(args.config, args.cfg_options), args.checkpoint, images)
    return dict(images=len(images), seconds=seconds), report(seconds, len(images))


def measure(cfg: Config, checkpoint: str, images: ImageList) -> dict[str, float]:
    """Return the seconds of every stage for all images, in one process with one thread that also loads the images.

    The real tool runs, into a folder that is removed, under Python's profiler. The stages spend their time in compiled
    code, so the profiler adds little. 'other' is the rest of the run after its start: the part of each eigenvector,
    the scores; with a GPU also the wait for the forward pass.
    """
    if cfg.get('test_dataloader'):
        cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()  # Python 3.13's profiler has no right time of the whole
        profile.runcall(make_pseudo_labels, cfg, checkpoint, images, Path(folder) / 'out.json')
        whole = time.perf_counter() - began
    stats = pstats.Stats(profile).stats
    seconds = {name: sum(_seconds(stats, part) for part in parts) for name, parts in STAGES.items()}
    start = _seconds(stats, label.Labelling.__init__) + _seconds(stats, label.load_model)
    return {START: start, **seconds, 'other': whole - start - sum(seconds.values())}


def _seconds(stats: Mapping, function: Callable) -> float:
    """Return the seconds of all calls of a function, including the functions that it called."""
    code = function.__code__
    found = stats.get((code.co_filename, code.co_firstlineno, code.co_name))
    return found[3] if found else 0.0


def report(seconds: Mapping[str, float], number: int) -> str:
    """Return the measurements of ``number`` images as text."""
    per_image = {stage: value / number for stage, value in seconds.items() if stage != START}
    total = sum(per_image.values())
    rows = [(stage, f'{1e3 * value:.1f}', f'{value / total:.1%}') for stage, value in per_image.items()]
    table = plain_table(['stage', 'ms/image', 'share'], [*rows, None, ('all', f'{1e3 * total:.1f}', '')])
    return (
        f'{table}\n'
        f'{number} images, one process, one thread: {1 / total:.3g} images/s after {seconds[START]:.1f} s of start\n'
        f'ImageNet-1k ({IMAGENET_1K:,} images) would take {IMAGENET_1K * total / 86400:.3g} days of such a process'
    )
