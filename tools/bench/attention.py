"""What it costs to read the attention of [CLS] out of a forward pass."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from projects.crate.models.observe import evaluating, observe

from .timing import interleaved_medians


def measure(backbone: nn.Module, size: tuple[int, int], batch_size: int, repeats: int) -> dict[str, float]:
    """Median seconds of a forward pass, and of one from which the maps of all heads are read.

    Args:
        backbone: CRATE or mmpretrain's VisionTransformer.
        size: (H, W) of the images, which are random.
        batch_size: Number of them.
        repeats: Passes of each kind.

    Returns:
        Seconds of 'forward', 'one layer' (the last) and 'all layers'.
    """
    parameter = next(backbone.parameters())
    images = torch.randn(batch_size, 3, *size, generator=torch.Generator().manual_seed(0)).to(parameter)
    layers = range(len(backbone.layers))
    with torch.no_grad(), evaluating(backbone):
        return interleaved_medians(
            {
                'forward': partial(backbone, images),
                'one layer': partial(maps, backbone, images, layers[-1:]),
                'all layers': partial(maps, backbone, images, layers),
            },
            repeats,
        )


def maps(backbone: nn.Module, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Attention of [CLS], (B, K, h w) per layer."""
    with observe(backbone, layers) as seen:
        backbone(images)
    return [seen[layer].cls_attention() for layer in layers]


def report(seconds: dict[str, dict[str, float]]) -> str:
    """The measurements as text.

    Args:
        seconds: Name of a backbone -> what :func:`measure` returned for it.
    """
    lines = ['Seconds, medians; in brackets what reading the attention adds to the forward pass.']
    for name, row in seconds.items():
        forward = row['forward']
        others = [f'{kind} {s:.4g} ({s / forward - 1:+.1%})' for kind, s in row.items() if kind != 'forward']
        lines.append(f'{name}: forward {forward:.4g} | ' + ' | '.join(others))
    return '\n'.join(lines)
