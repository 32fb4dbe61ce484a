"""Reading features and attention out of a forward pass that happens anyway."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from .crate import ATTENTIONS
from .layers import MHSA


@dataclass(frozen=True)
class Observation:
    """What one layer's attention saw in one forward pass.

    Attributes:
        attn: The attention module.
        projected: Output of its ``qkv``, (B, N, d) or (B, N, 3 d).
        num_extra_tokens: Tokens before those of the patches; the first of them is [CLS].
    """

    attn: nn.Module
    projected: Tensor
    num_extra_tokens: int = 1

    @property
    def features(self) -> Tensor:
        """U^T z of all heads side by side (keys for MHSA and mmpretrain's ViT), (B, N, d), [CLS] first."""
        return _formulas(self.attn).features(self.attn, self.projected)

    @property
    def patch_features(self) -> Tensor:
        """The features of the patches alone, row by row, (B, h w, d)."""
        return self.features[:, self.num_extra_tokens :]

    def attention(self, rows: slice = slice(None)) -> Tensor:
        """Attention of the tokens ``rows`` to all tokens, (B, K, rows, N); all rows are an N x N matrix per head."""
        return _formulas(self.attn).attention(self.attn, self.projected, rows)

    def cls_attention(self) -> Tensor:
        """Attention of [CLS] to the patches alone, with sum 1: (B, K, h w) (arXiv 2308.16271, Appendix B.1).

        Raises:
            ValueError: There is no [CLS] token.
        """
        if not self.num_extra_tokens:
            raise ValueError('cls_attention: the backbone was built with with_cls_token=False')
        row = self.attention(slice(0, 1))[:, :, 0, self.num_extra_tokens :]
        return row / row.sum(-1, keepdim=True)


class Observations(dict):
    """{layer as asked for: Observation}; asking for a layer that has none says why."""

    def __missing__(self, layer: int) -> Observation:
        """Raises: LookupError."""
        raise LookupError(
            f'layer {layer} was not observed: it was not asked for, or has not run (a backbone may stop after the last '
            'of its out_indices)'
        )


@contextmanager
def observe(backbone: nn.Module, layers: Sequence[int]) -> Iterator[Observations]:
    """Record the attention of some layers during a forward pass; nothing stays behind on the model.

    >>> with observe(backbone, layers=[10]) as seen:
    ...     backbone(images)
    >>> seen[10].features, seen[10].cls_attention()

    Args:
        backbone: CRATE with any attention, or a VisionTransformer of mmpretrain.
        layers: 0-based indices; negative ones count from the end.

    Yields:
        {index as given: Observation}, filled by the forward pass; a second pass replaces it.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: It has no such layer.
    """
    seen = Observations()
    attentions = {index: _attention(backbone, index) for index in layers}

    def record(index: int, attn: nn.Module):
        return attn.qkv.register_forward_hook(
            lambda _, __, projected: seen.update({index: Observation(attn, projected, backbone.num_extra_tokens)})
        )

    with ExitStack() as hooks:
        for index, attn in attentions.items():
            hooks.callback(record(index, attn).remove)
        yield seen


def _attention(backbone: nn.Module, index: int) -> nn.Module:
    """The attention module of a layer, if it is one that can be read."""
    name = type(backbone).__name__
    attentions = [getattr(layer, 'attn', None) for layer in getattr(backbone, 'layers', [])]
    if not (attentions and all(map(_is_readable, attentions)) and hasattr(backbone, 'num_extra_tokens')):
        raise TypeError(f"{name} has no layers[i].attn.qkv to observe; CRATE and mmpretrain's VisionTransformer have")
    if not -len(attentions) <= index < len(attentions):
        raise IndexError(f'{name} has no layer {index}: it has {len(attentions)} layers, the first is 0')
    return attentions[index]


def _is_readable(attn: nn.Module | None) -> bool:
    """Whether one Linear gives all that the attention is made of."""
    qkv = getattr(attn, 'qkv', None)
    return isinstance(qkv, nn.Linear) and (_formulas(attn) is type(attn) or qkv.out_features == 3 * qkv.in_features)


def _formulas(attn: nn.Module) -> type[nn.Module]:
    """The class whose ``features`` and ``attention`` hold for this module; they need nothing of it but ``num_heads``.

    An attention from elsewhere, which has query, key and value in one Linear, is the ViT's.
    """
    return type(attn) if type(attn) in ATTENTIONS.values() else MHSA
