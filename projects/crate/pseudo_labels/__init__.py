"""Masks of a million images as one COCO file, by any number of processes that may die at any moment.

The list of images is cut into batches (:mod:`.images`). A batch that is done is one file on disk (:mod:`.parts`): what
is left to do is what has no file, whoever asks. When there is nothing left, the first process merges the files
(:mod:`.label` runs all of it). ``tools/maskcut.py`` is the command.
"""

from .label import forget_unreadable, make_pseudo_labels, set_up_process

__all__ = ['forget_unreadable', 'make_pseudo_labels', 'set_up_process']
