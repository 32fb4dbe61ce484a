"""Reading features and attention out of a forward pass that happens anyway."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, ArgumentTypeError, UnknownLayerError
from .crate import CRATE
from .layers import ATTENTIONS, MHSA, Attention
from .unwrap import plain_linear, unwrap


@dataclass(frozen=True)
class Observation:
    """What one layer's attention saw in one forward pass.

    Attributes:
        attn: The attention module.
        projected: Output of its ``qkv``, (B, N, d) or (B, N, 3 d).
        num_extra_tokens: Tokens before those of the patches; the first of them is [CLS].
        output: What the layer returned, (B, N, d), if that was asked for: of a layer with ISTA, the sparse code.
        windowed: Whether patches attended within windows; [CLS] attends to all tokens in any case.
    """

    attn: nn.Module
    projected: Tensor
    num_extra_tokens: int = 1
    output: Tensor | None = None
    windowed: bool = False

    @property
    def features(self) -> Tensor:
        """U^T z of all heads side by side (keys for MHSA and mmpretrain's ViT), (B, N, d), [CLS] first."""
        return _formulas(self.attn).features(self.projected)

    @property
    def patch_features(self) -> Tensor:
        """The features of the patches alone, row by row, (B, h w, d)."""
        return self.features[:, self.num_extra_tokens :]

    def attention(self, rows: slice = slice(None)) -> Tensor:
        """Attention of the tokens ``rows`` to all tokens, (B, K, rows, N); all rows are an N x N matrix per head.

        Raises:
            ValueError: Rows of patches, which did not attend to all tokens.
        """
        if self.windowed and rows.indices(self.projected.shape[1])[1] > self.num_extra_tokens:
            raise ArgumentError(
                'attention: the patches of this layer attend within windows; build the backbone without window_size'
            )
        return _formulas(self.attn).attention(self.projected, rows)

    def cls_attention(self) -> Tensor:
        """Attention of [CLS] to the patches alone, with sum 1: (B, K, h w) (arXiv 2308.16271, Appendix B.1).

        Raises:
            ValueError: There is no [CLS] token.
        """
        if not self.num_extra_tokens:
            raise ArgumentError('cls_attention: the backbone was built with with_cls_token=False')
        # without the column of [CLS]: a long token attends to itself alone, and what is left of the others underflows
        row = _formulas(self.attn).attention(self.projected, slice(0, 1), slice(self.num_extra_tokens, None))
        return (row / row.sum(-1, keepdim=True))[:, :, 0]


class Observations(dict):
    """{layer as asked for: Observation}; asking for a layer that has none says why."""

    def __missing__(self, layer: int) -> Observation:
        """Raises: LookupError."""
        raise UnknownLayerError(
            f'layer {layer} was not observed: it was not asked for, or has not run (a backbone may stop after the last '
            'of its out_indices)'
        )


@contextmanager
def observe(backbone: nn.Module, layers: Sequence[int], outputs: bool = False) -> Iterator[Observations]:
    """Record the attention of some layers during a forward pass; nothing stays behind on the model.

    >>> with observe(backbone, layers=[10]) as seen:
    ...     backbone(images)
    >>> seen[10].features, seen[10].cls_attention()

    Args:
        backbone: CRATE with any attention, or a VisionTransformer of mmpretrain; also within wrappers (DDP,
            mmpretrain's LoRAModel). A compiled one is observed while what it wraps runs: ``unwrap(backbone)(images)``.
        layers: 0-based indices; negative ones count from the end.
        outputs: Whether to keep what the layers return; for [CLS] alone a CRATE would not compute the last one's.

    Yields:
        {index as given: Observation}, filled by the forward pass; a second pass replaces it.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: It has no such layer.
    """
    backbone = unwrap(backbone)
    seen = Observations()
    attentions = {index: _attention(backbone, index) for index in layers}

    windowed = {}

    def enter(index: int):
        # a CRATE gives its layers tokens and windows
        return lambda _, inputs: windowed.update({index: len(inputs) > 1 and inputs[1] is not None})

    def begin(index: int, attn: nn.Module):
        def keep(_, __, projected: Tensor) -> None:
            seen[index] = Observation(attn, projected, backbone.num_extra_tokens, windowed=windowed.get(index, False))

        return keep

    def complete(index: int):
        def keep(_, __, output: Tensor) -> None:
            if index in seen:  # not where an attention goes around its projection
                seen[index] = replace(seen[index], output=output)

        return keep

    with ExitStack() as hooks:
        for index, attn in attentions.items():
            layer = backbone.layers[index]
            hooks.callback(layer.register_forward_pre_hook(enter(index)).remove)
            hooks.callback(attn.qkv.register_forward_hook(begin(index, attn)).remove)
            if outputs:
                hooks.callback(layer.register_forward_hook(complete(index)).remove)
        yield seen


def check_layers(backbone: nn.Module, layers: Sequence[int]) -> None:
    """Refuse what :func:`observe` would refuse, and layers that would not run, before any image is seen.

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
    """Evaluation mode; afterwards every part is in its own mode again, also where parts differ."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def patch_size(backbone: nn.Module) -> tuple[int, int]:
    """(height, width) of a patch of CRATE or mmpretrain's VisionTransformer, which does not keep it."""
    backbone = unwrap(backbone)
    return getattr(backbone, 'patch_size', None) or backbone.patch_embed.projection.stride


def token_grid(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """(H, W) in pixels -> (h, w) in tokens; a part of a patch is padded to one by the backbone."""
    height, width = (-(-side // patch) for side, patch in zip(size, patch_size(backbone)))
    return height, width


def _attention(backbone: nn.Module, index: int) -> nn.Module:
    """The attention module of a layer, if it is one that can be read."""
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
