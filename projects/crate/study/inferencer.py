"""From photographs to masks in three lines."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement
from PIL import Image, ImageOps
from torch import nn

from ..engine.launch import read_config, type_name
from ..errors import ArgumentError, ArgumentTypeError, UserError
from ..model_index import models_with_weights
from ..models import MaskCutDetector, load_vit
from ..models.library_vit import FORMS, IMAGENET, NAMES, LibraryViT
from ..progress import Progress
from ..pseudo_labels import protocol_size
from ..pseudo_labels.label import image_pipeline
from .checkpoint_model import read_model
from .images import iterate_images
from .masks import OPACITY, painted, picture_path, save_picture
from .observer import Observer, as_tensor, image_channels

VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
Photo = str | os.PathLike | np.ndarray | Image.Image
Photos = Photo | mmcv.VideoReader | Iterable[Photo]


@dataclass(frozen=True)
class ImageObjects:
    """Objects that MaskCut found in an image of H x W pixels, on a grid of h x w tokens.

    Attributes:
        name: Path of the image below the folder that was given, name of a file, or number of a frame or an array.
        image: (H, W, 3) uint8 RGB, upright by its EXIF orientation.
        masks: (n, H, W) bool, in the order in which they were found. Objects share pixels at their borders at most.
        boxes: (n, 4) float32, tight [x1, y1, x2, y2] of the masks; x2 and y2 are just outside.
        scores: (n,) float32, all 1.0 by default; no probabilities. See ``score`` of :class:`MaskCutDetector`.
        eigenvectors: (n, h, w) float64, the relaxed normalised cut that each mask was taken from.
        attention: (K, h, w) float32, attention of [CLS] to the patches in the last of the layers, each head with sum 1;
            None for a ViT without [CLS].
    """

    name: str
    image: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    eigenvectors: np.ndarray
    attention: np.ndarray | None

    def draw(self, opacity: float = OPACITY) -> np.ndarray:
        """Return the image under its masks, (H, W, 3) uint8 RGB."""
        return painted(self.image, self.masks, opacity)


class MaskCutInferencer:
    """Find the objects in photographs by MaskCut, without training (arXiv 2301.11320).

    >>> from projects.crate import MaskCutInferencer
    >>> found = MaskCutInferencer('dinov2-small')('photo.jpg', out_dir='out')
    >>> found[0].masks.shape
    (2, 480, 640)

    It works without mmdet. It is no ``BaseInferencer`` of mmengine: that class loads checkpoints itself, which may
    execute them, and returns dictionaries. Each of its steps would be replaced here.

    Args:
        model: A ViT, as one of

            - a name of :data:`projects.crate.models.library_vit.NAMES`, such as 'dinov2-small'; timm/NAME, hf/NAME,
              torchhub/OWNER/REPO/NAME, or a folder of timm or transformers: see :func:`projects.crate.models.load_vit`;
            - the name of a model of this project that has weights, such as 'crate-w192d5-p4_tinyimagenet100';
            - a checkpoint that a training of this project has written, with its config inside;
            - a config file (with ``weights``), of which ``model.backbone`` counts, and all of a ``MaskCutDetector``;
            - a module of the table in ``features.py``, for images that ImageNet's mean and deviation normalise.

        weights: Checkpoint for a config file.
        device: Default: the best one there is.
        size: (height, width) that images are resized to, whatever their shape. Default: what the config resizes to,
            or 480 x 480 pixels rounded up to whole patches, and at most 60 x 60 patches.
        **cut: Arguments of :class:`projects.crate.models.MaskCutDetector`: ``facet``, ``layer``, ``tau``,
            ``num_masks``, ``centred``, ``crf``, ``score``, and the others.

    Raises:
        UserError: The model cannot be found, read, or observed.
    """

    def __init__(
        self,
        model: str | os.PathLike | nn.Module,
        weights: str | os.PathLike | None = None,
        device: torch.device | str | None = None,
        size: Sequence[int] | None = None,
        **cut,
    ) -> None:
        device = torch.device(device or get_device())
        backbone, preprocessor, settings, resized = _load(model, weights, device)
        settings = {**settings, **cut, 'details': True}
        self.detector = MaskCutDetector(backbone, preprocessor, **settings).to(device).eval()
        self.size = tuple(size or resized or protocol_size(backbone))
        self._channels = image_channels(backbone)

    def __call__(self, inputs: Photos, out_dir: str | os.PathLike | None = None) -> list[ImageObjects]:
        """Return the objects of each image.

        Args:
            inputs: An image: path, array (H, W, 3) uint8 RGB, or PIL image. Several: a list of images, a folder
                (searched with all its folders), a text file with a path per line, a video (path, or
                ``mmcv.VideoReader``). Images of a folder that cannot be read are named and left out.
            out_dir: Folder for pictures of the images with their masks.

        Raises:
            UserError: There is no image, or something that is no image.
        """
        return list(self.stream(inputs, out_dir))

    def stream(self, inputs: Photos, out_dir: str | os.PathLike | None = None) -> Iterator[ImageObjects]:
        """Yield the objects of one image after the other: a video or a large folder does not fit into memory.

        Args: as of a call.
        """
        names: set[str] = set()
        number = -1
        for number, (name, image) in enumerate(_images(inputs)):
            name = name or f'{number:06d}.png'
            found = self._find(name, image)
            if out_dir is not None:
                unique = name if name not in names else f'{number:06d}-{name}'
                save_picture(found.draw(), picture_path(Path(out_dir), unique))
                names.add(name)
            yield found
        if number < 0:
            raise UserError('no image: the list, or the video, is empty')

    def _find(self, name: str, image: np.ndarray) -> ImageObjects:
        """Return the objects of an image (H, W, 3) uint8 RGB."""
        height, width = self.size
        small = mmcv.imresize(image, (width, height), interpolation='lanczos', backend='pillow')
        sample = BaseDataElement(metainfo=dict(img_path=name, img_shape=self.size, ori_shape=image.shape[:2]))
        data = dict(inputs=as_tensor([small], self._channels), data_samples=[sample])
        (found,) = self.detector.test_step(data)
        objects = found.pred_instances
        return ImageObjects(
            name=name,
            image=image,
            masks=objects.masks.numpy(),
            boxes=objects.bboxes.numpy(),
            scores=objects.scores.numpy(),
            eigenvectors=objects.eigenvectors.numpy(),
            attention=found.cls_attention.float().numpy() if 'cls_attention' in found else None,
        )


def _load(
    model: str | os.PathLike | nn.Module, weights: str | os.PathLike | None, device: torch.device
) -> tuple[nn.Module, ImgDataPreprocessor, dict, Sequence[int] | None]:
    """Return backbone, preprocessor, settings of MaskCut, and (height, width) of the images; see the class."""
    if isinstance(model, nn.Module):
        return _from_library(LibraryViT(model, *([255 * value for value in values] for values in IMAGENET)), device)
    name, own = os.fspath(model), models_with_weights()
    if weights is not None:
        return _from_config(read_config(name), os.fspath(weights), device)
    if name.endswith('.py'):
        raise UserError(f'{name}: a config has no weights: give MaskCutInferencer(config, checkpoint)')
    if Path(name).is_file():
        return _from_config(_config_of(name), name, device)
    if name in own:
        config, checkpoint = own[name]
        return _from_config(read_config(config), checkpoint, device)
    if '/' not in name and name not in NAMES and not Path(name).is_dir():
        raise UserError(f'{name}: no such file or folder, and none of {", ".join([*own, *NAMES])}, {FORMS}')
    return _from_library(load_vit(name), device)


def _from_library(vit: LibraryViT, device: torch.device) -> tuple[nn.Module, ImgDataPreprocessor, dict, None]:
    return vit.module.to(device), ImgDataPreprocessor(mean=vit.mean, std=vit.std, bgr_to_rgb=True), {}, None


def _from_config(
    cfg: Config, checkpoint: str, device: torch.device
) -> tuple[nn.Module, ImgDataPreprocessor, dict, Sequence[int] | None]:
    observer = Observer.from_config(cfg, checkpoint, device)
    if type_name(cfg.model.get('type') or '') != 'MaskCutDetector':
        return observer.backbone, observer.preprocessor, {}, None
    parts = ('type', 'backbone', 'data_preprocessor', 'init_cfg')
    settings = {key: value for key, value in cfg.model.items() if key not in parts}
    sizes = [step['scale'] for step in image_pipeline(cfg) if type_name(step['type']) == 'Resize' and 'scale' in step]
    return observer.backbone, observer.preprocessor, settings, sizes[0][::-1] if sizes else None


def _config_of(checkpoint: str) -> Config:
    """Return the config in a checkpoint of a training of this project."""
    try:
        return read_model(Path(checkpoint), checkpoint).config
    except UserError as error:  # it names the option of a tool
        raise UserError(str(error).replace('--configs', 'MaskCutInferencer(config, checkpoint)')) from error


def _images(inputs: Photos) -> Iterator[tuple[str | None, np.ndarray]]:
    """Yield name, if there is one, and image (H, W, 3) uint8 RGB; see :class:`MaskCutInferencer`."""
    if isinstance(inputs, str | os.PathLike):
        yield from _read(Path(inputs))
    elif isinstance(inputs, mmcv.VideoReader):
        yield from ((f'{number:06d}.jpg', frame[..., ::-1]) for number, frame in enumerate(inputs))
    elif isinstance(inputs, Image.Image):
        yield None, np.asarray(ImageOps.exif_transpose(inputs).convert('RGB'))
    elif isinstance(inputs, np.ndarray):
        if inputs.dtype != np.uint8 or inputs.ndim != 3 or inputs.shape[2] != 3 or not inputs.size:
            raise ArgumentError(f'an array must be (H, W, 3) uint8 RGB, not {inputs.shape} {inputs.dtype}')
        yield None, inputs
    elif isinstance(inputs, list | tuple | Iterator):
        for one in inputs:
            yield from _images(one)
    else:
        raise ArgumentTypeError(f'{type(inputs).__name__} is no image: give a path, an array, a PIL image, or a list')


def _read(path: Path) -> Iterator[tuple[str | None, np.ndarray]]:
    if path.suffix.lower() in VIDEOS:
        if not path.is_file():
            raise UserError(f'video not found: {path}')
        yield from _images(mmcv.VideoReader(str(path)))
        return
    is_folder = path.is_dir()
    for file, image in iterate_images(path, report=Progress('maskcut', shows_progress=is_folder)):
        yield str(file.relative_to(path)) if is_folder else file.name, image
