"""Attention and features of a backbone in images."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger, print_log
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..checkpoints.fill import count_weights, fill
from ..checkpoints.read import read_weights
from ..engine.mistakes import building
from ..errors import ArgumentError, UserError
from ..files import printable
from ..models.features import adapter_of, choose_facet, patch_size, token_grid
from ..models.observe import Observation, check_layers, evaluating, observe
from ..models.unwrap import unwrap
from .checkpoint_model import read_model

PREFIX = 'backbone.'


class Observer:
    """Features and attention of a backbone in images as they come from a file.

    The backbone stays as it was: on its device, every part in its mode, without gradients or hooks. Only the [CLS] rows
    of an attention map are computed. So the memory grows with the number of tokens, not with its square, if the
    backbone's own attention does the same (torch's fused one does).

    >>> observer = Observer.from_config(Config.fromfile('configs/...'), 'epoch_90.pth')
    >>> observer.attention(image, layers=[10])[10].shape
    (6, 28, 28)

    Args:
        backbone: A ViT of ``models/features.py``.
        data_preprocessor: Config of a data preprocessor of any of the libraries; only its normalisation and channel
            order are used. Without ``to_rgb`` or ``bgr_to_rgb`` the backbone sees BGR, as OpenMMLab's transforms
            load. If the data set of the training gives RGB (mmpretrain's CIFAR), set ``to_rgb``.
            A backbone of one channel gets images in grey, as OpenCV converts them.

    Attributes:
        backbone: The backbone without wrappers around it (DDP, torch.compile, mmpretrain's LoRAModel).
        preprocessor: Data preprocessor that normalises the images of :func:`as_tensor`.
    """

    def __init__(self, backbone: nn.Module, data_preprocessor: dict | None = None) -> None:
        check_layers(backbone, [0])
        self.backbone = unwrap(backbone)
        self._adapter = adapter_of(self.backbone)
        self._channels = image_channels(self.backbone)
        if self._channels not in (1, 3):
            raise ArgumentError(f'the backbone takes images of {self._channels} channels; files have 3 (colour) or 1')
        self.preprocessor = ImgDataPreprocessor(**normalisation(data_preprocessor or {}))

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, config: str | None = None) -> 'Observer':
        """Build the backbone of a training from its checkpoint; its config is the one in the file, or a config file."""
        return cls.from_config(read_model(checkpoint, checkpoint.stem, config).config, str(checkpoint))

    @classmethod
    def from_config(cls, cfg: Config, checkpoint: str | None, device: torch.device | str | None = None) -> 'Observer':
        """Build the backbone of any config that has ``model.backbone``, with the weights of a checkpoint.

        The weights stand under ``backbone.``; all others in the file are ignored. Without a checkpoint they are those
        that a training would start from. The default device is the best one there is.
        """
        model = cfg.get('model') or {}
        if 'backbone' not in model:
            raise UserError(f'{cfg.filename}: the config has no model.backbone')
        scope = cfg.get('default_scope') or 'mmengine'
        with building(cfg):
            with DefaultScope.overwrite_default_scope(scope), _only_warnings():
                backbone = MODELS.build(model.backbone)
                if checkpoint is None:
                    backbone.init_weights()
            observer = cls(backbone, model.get('data_preprocessor') or cfg.get('data_preprocessor'))
        if checkpoint is not None:
            weights = read_weights(checkpoint)
            is_whole = any(name.startswith(PREFIX) for name in weights.tensors)
            if unused := fill(backbone, weights, PREFIX if is_whole else '').surplus:
                print_log(f'not used from {printable(checkpoint)}: {count_weights(unused)}', logger='current')
        backbone.to(device or get_device())
        return observer

    @property
    def num_layers(self) -> int:
        """Return the number of layers of the backbone."""
        return len(self._adapter.layers(self.backbone))

    @property
    def num_heads(self) -> int:
        """Return the number of heads of each layer."""
        return self._adapter.num_heads(self._adapter.attention(self._adapter.layers(self.backbone)[0]))

    @property
    def parts(self) -> str:
        """Return the kinds of attention and feed-forward part, such as 'MSSA and ISTA'."""
        layer = self._adapter.layers(self.backbone)[0]
        feedforward = getattr(layer, 'ffn', None) or layer.mlp
        return f'{type(self._adapter.attention(layer)).__name__} and {type(feedforward).__name__}'

    def number(self, layer: int) -> int:
        """Return the 0-based index of a layer that may be counted from the end; no such layer is an IndexError."""
        with observe(self.backbone, [layer]):
            return layer % self.num_layers

    @property
    def patch_size(self) -> tuple[int, int]:
        """Return the (height, width) of a patch in pixels."""
        return patch_size(self.backbone)

    def grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Return (h, w) of the tokens of an image (H, W); a part of a patch is a token too, padded below or right."""
        return token_grid(self.backbone, size)

    @torch.no_grad()
    def observe(
        self, images: Sequence[np.ndarray], layers: Iterable[int], outputs: bool = False
    ) -> dict[int, Observation]:
        """Run one forward pass; return {requested layer: input and output of its attention}.

        The images are (H, W, 3) uint8 RGB, all of one size; ``layers`` are 0-based, or negative from the end. With
        ``outputs`` the outputs of the layers are kept, too. The look-up of a layer that does not run, since it comes
        after ``out_indices``, is a LookupError.
        """
        if len({image.shape for image in images}) != 1:
            raise ValueError(f'images of several sizes: {", ".join(str(image.shape[:2]) for image in images)}')
        with evaluating(self.backbone), observe(self.backbone, list(layers), outputs) as seen:
            self._adapter.run(self.backbone, self._normalised(images))
        return seen

    def attention(self, image: np.ndarray, layers: Iterable[int]) -> dict[int, np.ndarray]:
        """Return the attention of [CLS] to the patches (arXiv 2308.16271, Appendix B.1) of an image.

        The image is (H, W, 3) uint8 RGB, the result {layer: (K, h, w) float32}, each map with sum 1. A backbone without
        [CLS], or attention that is NaN, is a ValueError.
        """
        layers = list(layers)
        seen, grid = self.observe([image], layers), self.grid(image.shape[:2])
        found = {layer: _array(seen[layer].cls_attention()[0].unflatten(-1, grid)) for layer in layers}
        if not all(np.isfinite(maps).all() for maps in found.values()):
            raise ArgumentError('the attention holds NaN or inf; check the checkpoint')
        return found

    def features(
        self, image: np.ndarray, layers: Iterable[int], facet: str | None = None, centred: bool = False
    ) -> dict[int, np.ndarray]:
        """Return the features of every patch of an image (H, W, 3) uint8 RGB, all heads side by side.

        They are U^T z, or for a ViT the facet; ``facet`` and ``centred`` are as in
        :class:`projects.crate.models.MaskCutDetector`. The result is {layer: (h, w, d) float32}.
        """
        layers, facet = list(layers), choose_facet(self.backbone, facet)
        seen, grid = self.observe([image], layers, outputs=facet == 'token'), self.grid(image.shape[:2])
        return {layer: _array(seen.patches([layer], facet, centred)[0].unflatten(0, grid)) for layer in layers}

    def _normalised(self, images: Sequence[np.ndarray]) -> Tensor:
        preprocessor = self.preprocessor.to(next(self.backbone.parameters()).device)
        return preprocessor(dict(inputs=as_tensor(images, self._channels)))['inputs']


def repository_observers(folder: Path) -> dict[str, Observer]:
    """Return 'CRATE' and 'ViT' with the first weights by name in docs/experiments/weights; none where no file is."""
    files = {name: sorted(folder.glob(f'{name.lower()}-*.safetensors'))[:1] for name in ('CRATE', 'ViT')}
    return {name: Observer.from_checkpoint(file) for name, found in files.items() for file in found}


def as_tensor(images: Sequence[np.ndarray], channels: int) -> Tensor:
    """Return images (H, W, 3) uint8 RGB of one size as OpenMMLab loads them: (B, channels, H, W) uint8, BGR or grey."""
    if channels == 1:
        images = [mmcv.rgb2gray(image, keepdim=True) for image in images]
    bgr = np.stack(images)[..., ::-1].transpose(0, 3, 1, 2).copy()  # without negative strides, also of one channel
    return torch.from_numpy(bgr)


def image_channels(backbone: nn.Module) -> int:
    """Return the number of channels of the images that a backbone takes."""
    convolution = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    if convolution is not None:
        return convolution.in_channels
    return backbone.patch_embed.projection.in_features // math.prod(patch_size(backbone))  # CRATE's linear embedding


def normalisation(cfg: dict) -> dict:
    """Return the arguments of ``ImgDataPreprocessor`` that normalise as the preprocessor of a config does.

    The channels are not swapped where there is only one.
    """
    while 'data_preprocessor' in cfg:  # mmdet's student-teacher models wrap it
        cfg = cfg['data_preprocessor']
    swaps = any(cfg.get(key) for key in ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr'))
    has_one_channel = len(cfg.get('mean') or ()) == 1
    return dict(mean=cfg.get('mean'), std=cfg.get('std'), bgr_to_rgb=swaps and not has_one_channel)


@contextmanager
def _only_warnings() -> Iterator[None]:
    """Silence ``init_weights``, which logs every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(level)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
