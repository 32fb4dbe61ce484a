"""Collate samples to a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import FUNCTIONS
from torch import Tensor

from ..errors import UserError
from ..files import printable


@FUNCTIONS.register_module()
def collate_one_size(samples: Sequence, stack: bool = True) -> Any:
    """Return a batch; name two images that end their pipeline in different sizes. Libraries name neither.

    Args:
        samples: Samples of a data set.
        stack: Stack the images to one tensor, as mmengine's ``default_collate`` does; False: as ``pseudo_collate``.

    Raises:
        UserError: The ``inputs`` of the samples have different shapes.
    """
    images = [sample for sample in samples if isinstance(sample, Mapping) and isinstance(sample.get('inputs'), Tensor)]
    for image in images:
        if image['inputs'].shape != images[0]['inputs'].shape:
            one, other = (f'{_name(each)} {(*each["inputs"].shape,)}' for each in (images[0], image))
            raise UserError(
                f'images of one batch differ in their shape (channels, height, width): {one} and {other}; resize or '
                'crop them to one size in the pipeline of the data set, or set batch_size=1'
            )
    return default_collate(samples) if stack else pseudo_collate(samples)


def _name(sample: Mapping) -> str:
    data = sample.get('data_samples')
    return printable(str(getattr(data, 'img_path', '')))
