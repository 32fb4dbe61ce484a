"""Data sets: loading images of which some are damaged, label maps, images in memory, and lists of images.

The names of the sample set are here for configs and users; they are defined in :mod:`projects.crate.sample_set`.
"""

from importlib import import_module

from mmengine.registry import DATASETS, TRANSFORMS

from ..errors import MissingPackageError
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


@TRANSFORMS.register_module(name='ScaledCopyPaste')
def _build_scaled_copy_paste(**kwargs):
    """Import the transform when a config asks for it: mmdet may be missing."""
    return _of_mmdet('copy_paste', 'ScaledCopyPaste')(**kwargs)


@DATASETS.register_module(name='KITTIDataset')
def _build_kitti_dataset(**kwargs):
    return _of_mmdet('kitti', 'KITTIDataset')(**kwargs)


def _of_mmdet(module, name):
    try:
        return getattr(import_module(f'.{module}', __name__), name)
    except ImportError as error:
        raise MissingPackageError(f'{name} needs mmdet and the compiled operators of mmcv: {error}') from error
