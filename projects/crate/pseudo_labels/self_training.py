"""Merge what a detector predicts with the masks that it learnt from: the labels of the next round."""

import shutil
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from ..errors import UserError
from ..files import atomic, make_folder, printable, sha256
from .merge import count_entries, read_annotations, read_images, read_info, write_merged
from .parts import read_by_image

MAX_IOU = 0.5  # of an old mask with the predictions; from here on it is the same object


def merge_labels(old: Path, predictions: Path, out: Path, threshold: float) -> dict[str, int]:
    """Write the masks for the next round of self-training (arXiv 2301.11320, section 3.4).

    P = {predictions with score > threshold};  labels = P and {old masks m with max over P of IoU(m, p) < 0.5}

    Both files are of ``tools/maskcut.py``, or of this function, and list the same images. They are read side by side,
    line by line: memory does not grow with their length. Boxes and areas are those of the masks. ``out`` is whole or
    absent, and the same inputs make the same bytes.

    Args:
        old: Masks that the detector learnt from.
        predictions: What it predicts on the same images.
        out: COCO file to write. If it is there, made from the same inputs, nothing is done.
        threshold: Score above which a prediction is kept.

    Returns:
        The numbers of 'images' and 'annotations'; empty if ``out`` was there.

    Raises:
        UserError: A file is damaged or of another kind, the images differ, or ``out`` was made from other inputs.
    """
    read_info(old), read_info(predictions)  # of another kind: an error before anything is read to its end
    info = dict(
        description='masks for a round of self-training (tools/merge_labels.py)',
        old=dict(sha256=sha256(old)),
        predictions=dict(sha256=sha256(predictions)),
        threshold=threshold,
    )
    if out.exists():
        if read_info(out) != info:
            raise UserError(f'{out} was made from other files or another threshold: choose another OUT, or remove it')
        return {}
    folder = out.with_name(f'{out.name}.parts')  # what a kill leaves lies in here, and goes with the next run
    make_folder(folder)
    with atomic(out, folder) as part, part.open('w', encoding='utf-8', errors='surrogateescape') as file:
        annotations = (one for pair in _pairs(old, predictions) for one in merge_image(*pair, threshold))
        counts = write_merged(file, info, images=read_images(predictions), annotations=annotations)
    shutil.rmtree(folder)
    return counts


def count_sources(merged: Path, predictions: Path) -> tuple[int, int]:
    """Return how many of the predictions, and how many old masks, are in a file that :func:`merge_labels` made."""
    threshold = read_info(merged)['threshold']
    kept = sum(_is_kept(one, threshold) for one in read_annotations(predictions))
    return kept, count_entries(merged)[1] - kept


def merge_image(old: list[dict], predictions: list[dict], threshold: float) -> list[dict]:
    """Return the labels of one image, the predictions first, without their ids; annotations as in COCO files."""
    from pycocotools.mask import iou  # here, as everywhere: classification needs no pycocotools

    kept = [one for one in predictions if _is_kept(one, threshold)]
    rest = old
    if old and kept:
        overlaps = iou(*([one['segmentation'] for one in each] for each in (old, kept)), [0] * len(kept))
        rest = [one for one, overlap in zip(old, overlaps.max(axis=1)) if overlap < MAX_IOU]
    return [{key: value for key, value in one.items() if key != 'id'} for one in (*kept, *rest)]


def _is_kept(prediction: dict, threshold: float) -> bool:
    """Return whether a prediction becomes a label."""
    return prediction['score'] > threshold


def _pairs(*paths: Path) -> Iterator[list[list[dict]]]:
    """Yield the annotations in each of the files, image by image."""
    for number, entries in enumerate(zip_longest(*map(read_by_image, paths)), start=1):
        images = [entry and entry[0] for entry in entries]
        if images[0] != images[1]:
            names = (printable(image['file_name']) if image else 'none' for image in images)
            raise UserError(
                f'{paths[0]} and {paths[1]} have different images: number {number} is {" and ".join(names)}; '
                'make both of the same images'
            )
        yield [annotations for _, annotations in entries]
