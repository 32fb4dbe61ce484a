"""Data sets: loading images of which some are damaged, label maps, images in memory, and lists of images.

The names of the sample set are here for configs and users; they are defined in :mod:`projects.crate.sample_set`.
"""

from mmengine.registry import DATASETS, TRANSFORMS

from ..registration import register_later
from ..sample_set.coats import METAINFO, SEGMENTATION_METAINFO
from ..sample_set.write import SampleSpec, make_sample_set
from .batches import collate_one_size
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
    'collate_one_size',
    'make_sample_set',
]

register_later(TRANSFORMS, __name__, 'copy_paste', 'ScaledCopyPaste')
register_later(DATASETS, __name__, 'kitti', 'KITTIDataset')
