"""Reading features and attention out of a forward pass that happens anyway."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Observation:
    """What one layer's attention saw in one forward pass.

    Attributes:
        attn: The attention module.
        projected: Output of its ``qkv``, (B, N, d) or (B, N, 3 d).
        has_cls: Whether the first token is [CLS].
    """

    attn: nn.Module
    projected: Tensor
    has_cls: bool = True

    @property
    def features(self) -> Tensor:
        """U^T z of all heads side by side (keys for MHSA), (B, N, d), [CLS] first."""
        return self.attn.features(self.projected)

    def attention(self, rows: slice = slice(None)) -> Tensor:
        """Attention of the tokens ``rows`` to all tokens, (B, K, rows, N); all rows are an N x N matrix per head."""
        return self.attn.attention(self.projected, rows)

    def cls_attention(self) -> Tensor:
        """Attention of [CLS] to the patches alone, with sum 1: (B, K, h w) (arXiv 2308.16271, Appendix B.1).

        Raises:
            ValueError: There is no [CLS] token.
        """
        if not self.has_cls:
            raise ValueError('cls_attention: the backbone was built with with_cls_token=False')
        row = self.attention(slice(0, 1))[:, :, 0, 1:]
        return row / row.sum(-1, keepdim=True)


@contextmanager
def observe(backbone: nn.Module, layers: Sequence[int]) -> Iterator[dict[int, Observation]]:
    """Record the attention of some layers during a forward pass; nothing stays behind on the model.

    >>> with observe(backbone, layers=[10]) as seen:
    ...     backbone(images)
    >>> seen[10].features, seen[10].cls_attention()

    Args:
        backbone: CRATE with any attention.
        layers: 0-based indices; negative ones count from the end.

    Yields:
        {index as given: Observation}, filled by the forward pass; a second pass replaces it.
    """
    seen: dict[int, Observation] = {}
    has_cls = backbone.num_extra_tokens > 0

    def record(index: int, attn: nn.Module):
        return attn.qkv.register_forward_hook(
            lambda _, __, projected: seen.update({index: Observation(attn, projected, has_cls)})
        )

    with ExitStack() as hooks:
        for index in layers:
            handle = record(index, backbone.layers[index].attn)
            hooks.callback(handle.remove)
        yield seen
