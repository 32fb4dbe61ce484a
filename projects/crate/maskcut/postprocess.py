"""From masks on the token grid to masks of the original image (arXiv 2301.11320 and the released code of CutLER)."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage, special

from ..errors import MissingPackageError

MIN_IOU = 0.5  # of a refined mask with the mask before
CRF_ITERATIONS = 10
GAUSSIAN = dict(sxy=3, compat=7)  # close pixels
BILATERAL = dict(sxy=50, srgb=5, compat=10)  # close pixels of like colour


def image_masks(
    masks: np.ndarray,
    patch_size: tuple[int, int],
    size: tuple[int, int],
    original_size: tuple[int, int],
    image: np.ndarray | None = None,
    refiner: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Return the masks of the original image that are not empty.

    Disjoint masks may then share pixels at their borders: each is refined and resized alone, as in the released code.

    Args:
        masks: (n, h, w) bool, on the token grid, from :func:`projects.crate.maskcut.maskcut`.
        patch_size: (height, width) of a patch in pixels.
        size: (H, W) of the network's input; the grid beyond it, below and to the right, is padding.
        original_size: (H0, W0).
        image: (H, W, 3) uint8 or larger, to refine the masks with.
        refiner: How to refine a mask (H, W) with the image; default :func:`refine`.

    Returns:
        (m, H0, W0) bool with m <= n.
    """
    found = [mask for mask in upsample(masks, patch_size, size) if mask.any()]
    if image is not None:
        image = image[: size[0], : size[1]]
        found = [(refiner or refine)(mask, image) for mask in found]
    found = [resize(mask, original_size) for mask in found]
    return np.array([mask for mask in found if mask.any()], dtype=bool).reshape(-1, *original_size)


def upsample(masks: np.ndarray, patch_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Repeat every token over the pixels of its patch: (n, h, w) -> (n, H, W), cut to ``size`` = (H, W)."""
    height, width = size
    return masks.repeat(patch_size[0], axis=1).repeat(patch_size[1], axis=2)[:, :height, :width]


def refine(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Let a mask follow the edges of the image: dense CRF, then hole filling.

    The result, with its holes filled, is empty if its IoU with ``mask`` is below 0.5.

    Args:
        mask: (H, W) bool.
        image: (H, W, 3) uint8; the order of the colours does not matter.

    Raises:
        ImportError: pydensecrf2 is not installed.
    """
    refined = ndimage.binary_fill_holes(dense_crf(mask, image))
    intersection, union = (mask & refined).sum(), (mask | refined).sum()
    return refined if intersection >= MIN_IOU * union else np.zeros_like(mask)


def dense_crf(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the more probable label in a fully connected CRF (arXiv 1210.5644), with the settings of CutLER.

    The unary term is softmax((1 - m, m)): a pixel of the mask has probability 0.73, others 0.27.

    Args:
        mask: (H, W) bool.
        image: (H, W, 3) uint8.

    Raises:
        ImportError: pydensecrf2 is not installed.
    """
    try:
        from pydensecrf import densecrf, utils  # here: masks without CRF need no compiled extra
    except ImportError as error:
        raise MissingPackageError(
            "refining masks (crf=True) needs pydensecrf2: pip install pydensecrf2, or this project with its extra 'crf'"
            ' (from Python 3.13 on, `make install` builds it)'
        ) from error
    height, width = mask.shape
    probabilities = special.softmax(np.stack([~mask, mask]).astype(np.float32), axis=0)
    crf = densecrf.DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(utils.unary_from_softmax(probabilities))
    crf.addPairwiseGaussian(**GAUSSIAN)
    crf.addPairwiseBilateral(rgbim=np.ascontiguousarray(image), **BILATERAL)
    labels = np.argmax(crf.inference(CRF_ITERATIONS), axis=0)
    return labels.reshape(height, width).astype(bool)


def resize(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W) bool to ``size`` = (H0, W0): PIL's bicubic interpolation of 0 and 255, cut at half its maximum."""
    height, width = size
    values = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BICUBIC))
    return values > values.max() / 2


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return (x1, y1, x2, y2) of a mask (H, W) that is not empty; x2 and y2 are just outside the mask."""
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    return columns.start, rows.start, columns.stop, rows.stop
