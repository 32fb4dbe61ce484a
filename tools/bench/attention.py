"""Measure the time that reading the attention of [CLS] adds to a forward pass."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from projects.crate.engine.config import read_config
from projects.crate.models.observe import evaluating, observe
from projects.crate.study.observer import Observer

from .timing import interleaved_medians


def run(args: Namespace) -> tuple[dict, str]:
    seconds = {}
    for path in args.configs:
        backbone = Observer.from_config(read_config(str(path)), checkpoint=None).backbone
        seconds[path.stem] = measure(backbone, args.size, args.batch_size, args.repeats)
    return dict(size=args.size, batch_size=args.batch_size, seconds=seconds), report(seconds)


def measure(backbone: nn.Module, size: tuple[int, int], batch_size: int, repeats: int) -> dict[str, float]:
    """Return the median seconds of a 'forward' pass, and of passes that read 'one layer' (the last) or 'all layers'.

    ``backbone`` is a CRATE or mmpretrain's VisionTransformer. The images of ``size`` (H, W) are random.
    """
    parameter = next(backbone.parameters())
    images = torch.randn(batch_size, 3, *size, generator=torch.Generator().manual_seed(0)).to(parameter)
    layers = range(len(backbone.layers))
    passes = {
        'forward': partial(backbone, images),
        'one layer': partial(maps, backbone, images, layers[-1:]),
        'all layers': partial(maps, backbone, images, layers),
    }
    with torch.no_grad(), evaluating(backbone):
        return interleaved_medians(passes, repeats)


def maps(backbone: nn.Module, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Return the attention of [CLS], (B, K, h w) per layer."""
    with observe(backbone, layers) as seen:
        backbone(images)
    return [seen[layer].cls_attention() for layer in layers]


def report(seconds: dict[str, dict[str, float]]) -> str:
    """Return the measurements as text: name of a backbone -> result of :func:`measure`."""
    lines = ['Seconds, medians; in brackets what reading the attention adds to the forward pass.']
    for name, row in seconds.items():
        forward = row['forward']
        others = [f'{kind} {s:.4g} ({s / forward - 1:+.1%})' for kind, s in row.items() if kind != 'forward']
        lines.append(f'{name}: forward {forward:.4g} | ' + ' | '.join(others))
    return '\n'.join(lines)
