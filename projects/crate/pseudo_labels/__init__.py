"""Label millions of images as one COCO file, by any number of processes that may die at any moment.

:mod:`.label` runs all of it, for ``tools/maskcut.py``. It cuts the list of images into batches (:mod:`.images`). Each
finished batch is one file on disk, so that every process sees the remaining work (:mod:`.parts`). In the end the first
process merges the files (:mod:`.merge`). :mod:`.self_training` merges such a file with the predictions of a detector.
"""

from .backbone import backbone_config, protocol_size
from .label import forget_unreadable, make_pseudo_labels, set_up_process
from .self_training import count_sources, merge_labels

__all__ = [
    'backbone_config',
    'count_sources',
    'forget_unreadable',
    'make_pseudo_labels',
    'merge_labels',
    'protocol_size',
    'set_up_process',
]
