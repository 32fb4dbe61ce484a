"""The embedded sample set, and loading images of which some are damaged.

The sample set is generated, seeded, no download (``tools/make_sample_set.py`` writes it to disk). It needs no data set
class of its own: mmpretrain's ``ImageNet``, mmseg's ``BaseSegDataset`` and mmdet's ``CocoDataset`` read it,
given the metainfo below. (mmseg's ``PascalVOCDataset`` reads it too, but refuses class names other than VOC's.)
"""

from ..sample_set.coats import METAINFO, SEGMENTATION_METAINFO
from ..sample_set.write import SampleSpec, make_sample_set
from .in_memory import ImagesInMemory
from .label_maps import LoadLabelMap
from .loading import LoadImageOrSkip

__all__ = [
    'METAINFO',
    'SEGMENTATION_METAINFO',
    'ImagesInMemory',
    'LoadImageOrSkip',
    'LoadLabelMap',
    'SampleSpec',
    'make_sample_set',
]
