"""Small images in memory, for trainings that would wait for their data."""

from collections.abc import Sequence

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info
from torchvision.ops import roi_align

from ..errors import ArgumentError, UnsupportedError


@DATASETS.register_module()
class ImagesInMemory(Dataset):
    """A classification data set, decoded once; its batches are cropped, scaled and flipped on the training device.

    One ``roi_align`` does a random resized crop of a whole batch: as torchvision's, a share of the area and an aspect
    ratio on a log scale. It averages 2 x 2 points per pixel. Images must have one size. The data loader needs
    ``num_workers=0, collate_fn=dict(type='torch.utils.data.default_convert')``.

    A batch is ``dict(inputs=(B, C, h, w) float, data_samples=[one])``. One data sample holds all labels (B,), which
    spares the head thousands of tiny copies to the device.

    Args:
        size: Size of the batches, an int or (h, w). ``SmallImagesHook`` changes it while training.
        dataset: Class of the data set, whose samples hold 'inputs' (C, H, W) uint8 and 'data_samples' with 'gt_label'.
        crop_ratio_range: Smallest and largest share of the area to crop.
        aspect_ratio_range: Smallest and largest width / height of a crop.
        flip_prob: Probability of a horizontal flip.
        device: Device that keeps the images; None: the GPU, if there is one.
        **kwargs: Arguments of the data set.

    Raises:
        ValueError: Images have different sizes, or are not uint8.
        RuntimeError: The loader uses worker processes.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        dataset: str = 'mmpretrain.CustomDataset',
        crop_ratio_range: tuple[float, float] = (0.4, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
        device: str | None = None,
        **kwargs,
    ) -> None:
        self.size = size
        self.crop_ratio_range, self.aspect_ratio_range = crop_ratio_range, aspect_ratio_range
        self.flip_prob = flip_prob
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.dataset: BaseDataset = DATASETS.build(dict(type=dataset, **kwargs))
        self.images = self.labels = None

    @property
    def metainfo(self) -> dict:
        """Return the metainfo of the data set."""
        return self.dataset.metainfo

    @property
    def CLASSES(self) -> Sequence[str] | None:  # noqa: N802
        """Return the names of the classes, where mmpretrain's ``ClassNumCheckHook`` looks for them."""
        return self.dataset.CLASSES

    def full_init(self) -> None:
        """Decode every image, once; mmengine's runner calls this."""
        if self.images is not None:
            return
        self.dataset.full_init()
        images, labels = None, torch.empty(len(self), dtype=torch.long)
        print_log(f'decoding {len(self)} images into memory', logger='current')
        for index in range(len(self)):
            loaded = self.dataset[index]
            image = loaded['inputs']
            if image.dtype != torch.uint8:  # other numbers would be cut to integers
                raise ArgumentError(f'ImagesInMemory: the pipeline gives {image.dtype}; images must be uint8')
            if images is None:
                images = torch.empty(len(self), *image.shape, dtype=torch.uint8)
            if image.shape != images.shape[1:]:
                raise ArgumentError(
                    f'ImagesInMemory: {loaded["data_samples"].img_path} has (channels, height, width) '
                    f'{(*image.shape,)} and the first image {(*images.shape[1:],)}; they must have one size'
                )
            images[index], labels[index] = image, loaded['data_samples'].gt_label
        self.images = images.to(self.device)
        self.labels, self._make_sample = labels.to(self.device), type(loaded['data_samples'])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor | list[BaseDataElement]]:
        """Return a batch; ``DataLoader`` calls this in place of ``__getitem__``."""
        if get_worker_info():
            raise UnsupportedError('ImagesInMemory: set num_workers=0; processes would each keep all images')
        chosen = torch.tensor(indices, device=self.device)
        labels = self._make_sample(gt_label=self.labels[chosen])
        return dict(inputs=self._augment(self.images[chosen].float()), data_samples=[labels])

    def _augment(self, images: Tensor) -> Tensor:
        """Crop, scale and flip: (B, C, H, W) -> (B, C, h, w)."""
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        boxes = self._draw_boxes(len(images), images.shape[2:])
        images = roi_align(images, boxes, size, sampling_ratio=2, aligned=True)
        flipped = torch.rand(len(images), 1, 1, 1, device=self.device) < self.flip_prob
        return torch.where(flipped, images.flip(3), images)

    def _draw_boxes(self, count: int, size: tuple[int, int]) -> Tensor:
        """Return crops of images of ``size`` (H, W): (count, 5), index of the image and x1, y1, x2, y2."""
        height, width = size
        low, high = torch.tensor([*self.aspect_ratio_range]).log().tolist()
        share = torch.empty(count, device=self.device).uniform_(*self.crop_ratio_range)
        aspect = torch.empty(count, device=self.device).uniform_(low, high).exp()
        w = (height * width * share * aspect).sqrt().clamp(max=width)
        h = (height * width * share / aspect).sqrt().clamp(max=height)
        x, y = torch.rand(2, count, device=self.device) * torch.stack([width - w, height - h])
        return torch.stack([torch.arange(count, device=self.device), x, y, x + w, y + h], dim=1)
