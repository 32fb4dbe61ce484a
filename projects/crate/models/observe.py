"""Read features and attention during a forward pass of a backbone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import ArgumentError, ArgumentTypeError, UnknownLayerError
from .crate import CRATE
from .layers import ATTENTIONS, MHSA, Attention
from .library_api import LibraryModel
from .unwrap import plain_linear, unwrap


@dataclass(frozen=True)
class Observation:
    """Input and output of one layer's attention in one forward pass.

    Attributes:
        attn: The attention module.
        projected: Output of its ``qkv``, (B, N, d) or (B, N, 3 d).
        num_extra_tokens: Number of tokens before the patches; the first is [CLS].
        output: Output of the layer, (B, N, d), if ``outputs`` is set: with ISTA, the sparse code.
        windowed: Whether patches attended within windows; [CLS] attends to all tokens in any case.
    """

    attn: nn.Module
    projected: Tensor
    num_extra_tokens: int = 1
    output: Tensor | None = None
    windowed: bool = False

    @property
    def features(self) -> Tensor:
        """Return U^T z of all heads side by side (keys for MHSA and mmpretrain's ViT), (B, N, d), [CLS] first."""
        return _formulas(self.attn).features(self.projected)

    @property
    def patch_features(self) -> Tensor:
        """Return the features of the patches alone, row by row, (B, h w, d)."""
        return self.features[:, self.num_extra_tokens :]

    def attention(self, rows: slice = slice(None)) -> Tensor:
        """Return the attention of the tokens ``rows`` to all tokens, (B, K, rows, N).

        Raises:
            ValueError: Rows of patches that attended within windows.
        """
        if self.windowed and rows.indices(self.projected.shape[1])[1] > self.num_extra_tokens:
            raise ArgumentError(
                'attention: the patches of this layer attend within windows; build the backbone without window_size'
            )
        return _formulas(self.attn).attention(self.projected, rows)

    def cls_attention(self) -> Tensor:
        """Return the attention of [CLS] to the patches, with sum 1: (B, K, h w) (arXiv 2308.16271, Appendix B.1).

        Raises:
            ValueError: There is no [CLS] token.
        """
        if not self.num_extra_tokens:
            raise ArgumentError('cls_attention: the backbone has no [CLS] (with_cls_token=False)')
        # without the column of [CLS]: a long [CLS] attends to itself alone, and the rest of its row underflows
        row = _formulas(self.attn).attention(self.projected, slice(0, 1), slice(self.num_extra_tokens, None))
        return (row / row.sum(-1, keepdim=True))[:, :, 0]


class Observations(dict):
    """{requested layer: Observation}; the error for a missing layer gives the reason."""

    def __missing__(self, layer: int) -> Observation:
        """Raise LookupError with the reason."""
        raise UnknownLayerError(
            f'layer {layer} was not observed: it was not requested, or has not run (a backbone may stop after the last '
            'of its out_indices)'
        )


@contextmanager
def observe(backbone: nn.Module, layers: Sequence[int], outputs: bool = False) -> Iterator[Observations]:
    """Record the attention of some layers during a forward pass; nothing stays behind on the model.

    >>> with observe(backbone, layers=[10]) as seen:
    ...     backbone(images)
    >>> seen[10].features, seen[10].cls_attention()

    Args:
        backbone: CRATE with any attention, or a VisionTransformer of mmpretrain, also within wrappers (DDP,
            mmpretrain's LoRAModel). Of a compiled backbone call the inner module: ``unwrap(backbone)(images)``.
        layers: 0-based indices; negative ones count from the end.
        outputs: Whether to keep the outputs of the layers; the last layer then computes all tokens.

    Yields:
        {index as given: Observation}, filled by the forward pass; a second pass replaces it.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: It has no such layer.
    """
    backbone = unwrap(backbone)
    seen, windowed = Observations(), {}
    attentions = {index: _attention(backbone, index) for index in layers}
    with ExitStack() as hooks:
        for index, attn in attentions.items():

            def before(_, inputs, index=index) -> None:  # a CRATE gives its layers tokens and windows
                windowed[index] = len(inputs) > 1 and inputs[1] is not None

            def between(_, __, projected, index=index, attn=attn) -> None:
                windows = windowed.get(index, False)
                seen[index] = Observation(attn, projected, backbone.num_extra_tokens, windowed=windows)

            def after(_, __, output, index=index) -> None:
                if index in seen:  # False where an attention does not call its projection
                    seen[index] = replace(seen[index], output=output)

            layer = backbone.layers[index]
            hooks.callback(layer.register_forward_pre_hook(before).remove)
            hooks.callback(attn.qkv.register_forward_hook(between).remove)
            if outputs:
                hooks.callback(layer.register_forward_hook(after).remove)
        yield seen


def check_layers(backbone: nn.Module, layers: Sequence[int]) -> None:
    """Refuse layers that :func:`observe` refuses and layers that do not run, before any image is seen.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: It has no such layer, or does not run it.
    """
    with observe(backbone, layers):
        pass
    backbone = unwrap(backbone)
    last = backbone.out_indices[-1] if isinstance(backbone, CRATE) else len(backbone.layers) - 1
    if unused := [layer for layer in layers if layer % len(backbone.layers) > last]:
        raise UnknownLayerError(
            f'CRATE does not run layer {unused[0]}: it stops after out_indices {backbone.out_indices}'
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore the mode of every part afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class BackboneReader(LibraryModel, BaseModel):
    """A model without training, whose results are read from the attention of a backbone.

    The only weights are the backbone's, under ``backbone.``: checkpoints of classifiers fit. A backbone in the middle
    of its training stays unchanged: its device, the mode of every part, gradients and hooks.

    Args:
        backbone: CRATE or mmpretrain's VisionTransformer, as a config or as the module itself.
        data_preprocessor: Data preprocessor, as in every OpenMMLab model.
        init_cfg: Initialisation, as in mmengine.
    """

    def __init__(
        self, backbone: dict | nn.Module, data_preprocessor: dict | nn.Module | None, init_cfg: dict | list | None
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
        self.data_preprocessor.to(next(self.backbone.parameters()).device)

    def read(self, inputs: Tensor, layers: Sequence[int], mode: str) -> Observations:
        """Observe some layers while images (B, 3, H, W) pass; the only modes are 'predict' and 'tensor'."""
        if mode not in ('predict', 'tensor'):
            name = type(self).__name__
            raise NotImplementedError(f"{name}: mode must be 'predict' or 'tensor', not {mode!r}: no training")
        with evaluating(self.backbone), observe(self.backbone, layers) as seen:
            unwrap(self.backbone)(inputs)
        return seen


def patch_size(backbone: nn.Module) -> tuple[int, int]:
    """Return the (height, width) of a patch of CRATE or mmpretrain's VisionTransformer."""
    backbone = unwrap(backbone)
    return getattr(backbone, 'patch_size', None) or backbone.patch_embed.projection.stride


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Return (h, w) in tokens for (H, W) in pixels; the backbone pads the image to whole patches."""
    height, width = (-(-side // patch) for side, patch in zip(size, patch_size(backbone)))
    return height, width


def _attention(backbone: nn.Module, index: int) -> nn.Module:
    """Return the attention module of a layer, if it can be read."""
    name = type(backbone).__name__
    attentions = [getattr(layer, 'attn', None) for layer in getattr(backbone, 'layers', [])]
    if not (attentions and all(map(_is_readable, attentions)) and hasattr(backbone, 'num_extra_tokens')):
        raise ArgumentTypeError(
            f"{name} has no layers[i].attn.qkv to observe; CRATE and mmpretrain's VisionTransformer have"
        )
    if not -len(attentions) <= index < len(attentions):
        raise UnknownLayerError(f'{name} has no layer {index}: it has {len(attentions)} layers, the first is 0')
    return attentions[index]


def _is_readable(attn: nn.Module | None) -> bool:
    """Return True if one Linear, maybe with an adapter around it, gives all that the attention is made of."""
    qkv = plain_linear(getattr(attn, 'qkv', None))
    # mmpretrain's own by name: others (ViTEVA02's, BEiT's) do more with the projections than the formulas say
    is_vit = type(attn).__name__ == 'MultiheadAttention' and qkv and qkv.out_features == 3 * qkv.in_features
    return qkv is not None and (type(attn) in ATTENTIONS.values() or is_vit)


def _formulas(attn: nn.Module) -> Attention:
    """Return the module, or for a ViT's attention from elsewhere a MHSA without weights: it needs the heads alone."""
    if type(attn) in ATTENTIONS.values():
        return attn
    with torch.device('meta'):
        return MHSA(attn.num_heads, attn.num_heads)
