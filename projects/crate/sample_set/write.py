"""Write a whole sample set, so that it is whole or absent."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from ..errors import ArgumentError, FileInTheWayError
from ..files import make_folder
from .coats import CLASSES
from .layouts import LAYOUTS, SPLITS
from .render import Sample, render_image

RECIPE = 1  # raise it with every change of the drawing: it tells sets of another recipe apart
MARKER = 'sample_set.json'


@dataclass(frozen=True)
class SampleSpec:
    """Contents of a set; equal specs make equal bytes.

    Args:
        train: Number of training images.
        val: Number of validation images.
        size: (height, width) in pixels.
        max_objects: 1: one object per image, and classes equally often (to within one image). 2 to 8: from 1 to this
            many objects, which occlude each other; classes take turns in front, and are random behind.
        seed: Seed of the generator, from 0 to 2**32 - 1.

    Raises:
        ValueError: A number is out of range; the message names it.
    """

    train: int = 3000
    val: int = 400
    size: tuple[int, int] = (48, 48)
    max_objects: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for split in SPLITS:
            if (number := getattr(self, split)) < len(CLASSES):
                raise ArgumentError(f'{split}: at least {len(CLASSES)} images, one of each class; not {number}')
        if not 1 <= self.max_objects <= len(CLASSES):  # so that object and class masks share a palette
            raise ArgumentError(f'max_objects: from 1 to {len(CLASSES)}; not {self.max_objects}')
        if not 0 <= self.seed < 2**32:
            raise ArgumentError(f'seed: from 0 to 2**32 - 1; not {self.seed}')
        render_sample(self, 'train', 0)  # the renderer knows which sizes it takes

    def describe(self) -> dict:
        """Return the spec and the version of the recipe, as JSON gives them back."""
        return json.loads(json.dumps(dict(recipe=RECIPE, **asdict(self))))


def render_sample(spec: SampleSpec, split: str, index: int) -> Sample:
    """Return one sample of a set, a function of the seed, the kind of set, the split and the index only.

    Every image has its own generator. Workers may share the images in any way, the splits differ, and a larger set
    begins as a smaller one does.
    """
    rng = np.random.default_rng([spec.seed, spec.max_objects, SPLITS.index(split), index])
    labels = rng.integers(len(CLASSES), size=rng.integers(spec.max_objects) + 1)
    labels[-1] = index % len(CLASSES)
    return render_image(rng, labels, spec.size)


def make_sample_set(out: str | Path, layout: str, spec: SampleSpec, workers: int = 1) -> bool:
    """Write a set in one layout to its folder in ``out``, with a marker that describes it.

    The folder gets its name when the set is whole. Until then its name ends in ``.partial``, and the next run removes
    leftovers of an interrupted run. Two runs at once need two folders.

    Args:
        out: Folder of the set; the layout's folder is made in it.
        layout: A key of ``LAYOUTS``.
        spec: Contents of the set.
        workers: Number of processes; it does not change the result.

    Returns:
        True if the set was made, False if it was there already.

    Raises:
        ValueError: ``layout`` is unknown.
        FileExistsError: The layout's folder holds something else.
    """
    if layout not in LAYOUTS:
        raise ArgumentError(f'layout: one of {", ".join(LAYOUTS)}; not {layout!r}')
    target = Path(out, LAYOUTS[layout].folder)
    if is_there(out, layout, spec):
        return False
    partial_set = target.with_name(f'{target.name}.partial')
    if partial_set.exists():
        shutil.rmtree(partial_set)
    make_folder(partial_set)
    for split in SPLITS:
        task = partial(_write_one, LAYOUTS[layout].write, partial_set, spec, split)
        records = _run(task, getattr(spec, split), workers, f'{target.name} {split}')
        LAYOUTS[layout].finish(partial_set, split, records)
    (partial_set / MARKER).write_text(json.dumps(spec.describe(), indent=2) + '\n')
    partial_set.replace(target)
    return True


def _write_one(write: Callable, root: Path, spec: SampleSpec, split: str, index: int) -> Any:
    return write(root, split, index, render_sample(spec, split, index))


def _run(task: Callable[[int], Any], count: int, workers: int, description: str) -> list[Any]:
    """Return the results of ``task`` for 0 to count - 1, in order, with a progress bar."""
    if workers == 1:
        return list(track(map(task, range(count)), description, count))
    # Since Python 3.14 the default is 'forkserver', whose workers first import the whole project.
    with ProcessPoolExecutor(workers, get_context('fork')) as pool:
        # This line forks the workers, before the progress bar has a thread that could hold a lock then.
        results = pool.map(task, range(count), chunksize=16)
        return list(track(results, description, count))


def is_there(out: str | Path, layout: str, spec: SampleSpec) -> bool:
    """Return True if the set is there already; raise FileExistsError if something else is in its place."""
    target = Path(out, LAYOUTS[layout].folder)
    if not target.exists():
        return False
    remedy = 'choose another folder, or delete this one'
    marker = target / MARKER
    if not marker.is_file():
        raise FileInTheWayError(f'{target}: exists and is no sample set ({MARKER} is missing); {remedy}')
    try:
        found = json.loads(marker.read_text())
    except ValueError as error:
        raise FileInTheWayError(f'{marker}: not readable as JSON ({error}); {remedy}') from error
    asked = spec.describe()
    if wrong := [key for key in asked if key not in found or found[key] != asked[key]]:
        there, wanted = (', '.join(f'{key}={values.get(key)}' for key in wrong) for values in (found, asked))
        raise FileInTheWayError(f'{target}: holds a sample set with {there}, asked for {wanted}; {remedy}')
    return True
