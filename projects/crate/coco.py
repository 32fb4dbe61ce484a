"""Masks as COCO annotations."""

import numpy as np

from .errors import MissingPackageError


def coco_annotation(mask: np.ndarray, label: int) -> dict:
    """Return category, run-length code, tight box [x, y, w, h] and area, in pixels, of a mask (H, W) bool.

    Raises:
        ImportError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco_mask  # here, so that classification needs no pycocotools
    except ImportError as error:
        raise MissingPackageError('the COCO layout needs pycocotools: pip install pycocotools') from error
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(
        category_id=label + 1,
        segmentation=dict(size=code['size'], counts=code['counts'].decode('ascii')),
        bbox=coco_mask.toBbox(code).tolist(),
        area=int(coco_mask.area(code)),
        iscrowd=0,
    )
