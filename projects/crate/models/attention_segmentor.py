"""Attention of [CLS] as segmentation, without training."""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..errors import ArgumentError
from ..registration import register_model
from .features import adapter_of, patch_size, token_grid
from .observe import BackboneReader, check_layers
from .unwrap import unwrap


@register_model
class AttentionSegmentor(BackboneReader):
    """Attention of [CLS] to each patch, per head (arXiv 2308.16271, Appendix B.1), for coarse segmentation (B.3).

    a_k = softmax over the patches i of <U_k^T z_cls, U_k^T z_i> / sqrt(p); in a ViT, query of [CLS] with keys. All
    layers come from one forward pass, and only their rows of [CLS] are computed: memory is linear in the number of
    patches. The metric is :class:`projects.crate.evaluation.BestHeadIoU`.

    Args:
        backbone: A ViT of ``features.py``, as a config or as the module itself.
        data_preprocessor: Data preprocessor, as in every OpenMMLab model.
        layers: 0-based index, several of them, or 'all'; negative ones count from the end.
        init_cfg: Initialisation, as in mmengine.
        pretrained: None; ``mmseg.apis.init_model`` sets it. Use ``init_cfg``.
        train_cfg: None; ``mmseg.apis.init_model`` sets it. There is no training.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: The backbone has no such layer, or does not run it.
        ValueError: The backbone has no [CLS] token, or ``layers`` is none of the above.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        data_preprocessor: dict | nn.Module | None = None,
        layers: int | Sequence[int] | str = -1,
        init_cfg: dict | list | None = None,
        pretrained: None = None,
        train_cfg: None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor, init_cfg)
        if pretrained is not None or train_cfg is not None:
            raise ArgumentError('AttentionSegmentor: pretrained and train_cfg must be None; set init_cfg instead')
        inner = unwrap(self.backbone)
        adapter = adapter_of(inner)
        number = len(adapter.layers(inner))
        if isinstance(layers, int):
            layers = [layers]
        elif layers == 'all':
            layers = range(number)
        elif isinstance(layers, str) or not layers:
            raise ArgumentError(f"AttentionSegmentor: layers is an index, several, or 'all'; not {layers!r}")
        check_layers(inner, layers)
        if not adapter.has_cls(inner):
            raise ArgumentError('AttentionSegmentor: the backbone has no [CLS] (with_cls_token=False)')
        self.layers = [layer % number for layer in layers]

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] | None = None, mode: str = 'tensor'
    ) -> dict[int, Tensor] | list[BaseDataElement]:
        """Return the attention maps of a batch of images.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: One per image; 'predict' needs their ``img_shape``, (height, width).
            mode: 'predict' or 'tensor'.

        Returns:
            'tensor': {layer: (B, K, h, w)}, each map with sum 1.
            'predict': ``data_samples``, each with ``cls_attention``, {layer: (K, h, w)} on the tokens of the image
            itself, and ``patch_size`` in its meta information.

        Raises:
            NotImplementedError: Another mode; there is no loss.
            ValueError: A map holds NaN or infinity; the message names image and layer.
        """
        seen = self.read(inputs, self.layers, mode)
        grid = token_grid(self.backbone, inputs.shape[-2:])
        maps = {layer: seen[layer].cls_attention().unflatten(-1, grid) for layer in self.layers}
        if mode == 'tensor':
            return maps
        for index, sample in enumerate(data_samples):
            if bad := [layer for layer, batch in maps.items() if not batch[index].isfinite().all()]:
                name = sample.get('img_path', f'image {index} of the batch')
                raise ArgumentError(f'{name}: the attention of layer {bad[0]} holds NaN or inf; check the checkpoint')
            height, width = token_grid(self.backbone, sample.img_shape)  # less than the batch's, if it was padded
            sample.cls_attention = {layer: batch[index, :, :height, :width] for layer, batch in maps.items()}
            sample.set_metainfo(dict(patch_size=patch_size(self.backbone)))
        return data_samples
