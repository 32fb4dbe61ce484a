"""A frozen ViT as the backbone of a detector: the features that MaskCut cuts, as one map."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from ..errors import ArgumentError
from ..registration import register_model
from .features import adapter_of, token_grid
from .observe import check_layers, observe


@register_model
class FrozenViT(BaseModule):
    """F(X) = [LN(Z_l)], the tokens of some layers of a ViT side by side, each with mean 0 and variance 1.

    The ViT computes without gradients, in evaluation mode, and keeps its weights. A neck such as ``SimpleFPN`` makes
    the pyramid.

    Args:
        backbone: Config of a ViT of ``features.py``, also of another library (``LibraryViT``).
        layers: 0-based layers whose tokens are returned; negative ones count from the end.
        cache: Number of images whose features are kept in memory. An image that comes again with the same pixels is
            not computed again. It helps where nothing is drawn at random but a flip.
        init_cfg: Initialisation, as in mmengine; the ViT brings its own.

    Raises:
        ValueError: ``cache`` is negative.
        TypeError, IndexError: The ViT cannot be read, or has no such layer.
    """

    def __init__(
        self, backbone: dict, layers: Sequence[int] = (-1,), cache: int = 0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        if cache < 0:
            raise ArgumentError(f'FrozenViT: cache must be 0 (nothing is kept) or more, not {cache}')
        self.backbone = MODELS.build(backbone).requires_grad_(False)
        check_layers(self.backbone, layers)
        self.layers, self.cache = tuple(layers), cache
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self.eval()

    def init_weights(self) -> None:
        """Let the ViT load its weights; one of another library has them, and would draw new ones."""
        if isinstance(self.backbone, BaseModule):
            self.backbone.init_weights()

    def train(self, mode: bool = True) -> 'FrozenViT':
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return one map (B, d, h, w) of images (B, 3, H, W); d is the width times the number of layers."""
        if not self.cache:
            return (self._compute(images),)
        keys = [hashlib.blake2b(image.cpu().numpy().tobytes() + str(image.shape).encode()).digest() for image in images]
        if missing := [index for index, key in enumerate(keys) if key not in self._kept]:
            for index, found in zip(missing, self._compute(images[missing])):
                self._kept[keys[index]] = found
        maps = torch.stack([self._kept[key] for key in keys])
        for key in keys:
            self._kept.move_to_end(key)
        while len(self._kept) > self.cache:
            self._kept.popitem(last=False)
        return (maps,)

    @torch.no_grad()
    def _compute(self, images: Tensor) -> Tensor:
        with observe(self.backbone, self.layers, outputs=True) as seen:
            adapter_of(self.backbone).run(self.backbone, images)
        tokens = [seen[layer].facet('token')[:, seen[layer].num_extra_tokens :] for layer in self.layers]
        found = torch.cat([F.layer_norm(one, one.shape[-1:]) for one in tokens], dim=-1)
        return found.mT.unflatten(2, token_grid(self.backbone, images.shape[-2:])).contiguous()
