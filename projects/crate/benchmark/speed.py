"""Speed and memory of our backbone, against what its users could take instead.

The alternatives: the same network in the textbook formulation (:class:`TextbookMSSA`, :class:`TextbookISTA`), and ViTs
of the same width and depth, mmpretrain's, and timm's where it is installed.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from rich import box
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count

from ..models import CRATE
from ..models.layers import ISTA, MSSA, merge_heads, split_heads
from ..study.complexity import FUSED_ATTENTION, attention_flops
from .memory import peak_memory
from .text import plain_text
from .timing import interleaved_medians

OURS, TEXTBOOK = 'this project', 'textbook'
CEILING = 'matrix product'  # what an alternative's operations a second are compared with
SIDE = 2048  # of that product
ATTENTION = {
    FUSED_ATTENTION: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


class TextbookMSSA(nn.Module):
    """softmax(W_k W_k^T / sqrt(p)) W_k with the map in memory, as in the released code; has the weights of an MSSA."""

    def __init__(self, attn: MSSA) -> None:
        super().__init__()
        self.qkv, self.proj, self.num_heads = attn.qkv, attn.proj, attn.num_heads

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d)."""
        w = split_heads(self.qkv(x), self.num_heads)
        attention = (w @ w.transpose(-1, -2) * w.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj(merge_heads(attention @ w))


class TextbookISTA(nn.Module):
    """ReLU(x + eta D^T x - eta D^T D x - eta lambda) in three products, as in the released code; weights of an ISTA."""

    residual = False

    def __init__(self, ffn: ISTA) -> None:
        super().__init__()
        self.weight, self.eta, self.lambd = ffn.weight, ffn.eta, ffn.lambd

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d)."""
        second = F.linear(F.linear(x, self.weight), self.weight.t())
        first = F.linear(x, self.weight.t())
        return F.relu(x + self.eta * (first - second) - self.eta * self.lambd)


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        arch: Of a CRATE with MSSA and ISTA.
        patch_size: In pixels.
        size: Side of the images in pixels.
        batch_size: Number of images.
        bfloat16: Whether they run under bfloat16 autocast.
        device: Where.
    """

    arch: str
    patch_size: int
    size: int
    batch_size: int
    bfloat16: bool = False
    device: str = 'cpu'

    def precision(self) -> AbstractContextManager:
        """The context of every pass."""
        return torch.autocast(self.device, torch.bfloat16) if self.bfloat16 else nullcontext()

    def models(self) -> dict[str, nn.Module]:
        """The alternatives by name, with random weights; those of the first two are the same."""
        ours = CRATE(self.arch, img_size=self.size, patch_size=self.patch_size)
        sizes = dict(img_size=self.size, patch_size=self.patch_size)
        found = {OURS: ours, TEXTBOOK: textbook(ours)}
        if find_spec('mmpretrain'):
            from mmpretrain.models import VisionTransformer

            arch = dict(
                embed_dims=ours.embed_dims,
                num_layers=ours.num_layers,
                num_heads=ours.num_heads,
                feedforward_channels=4 * ours.embed_dims,
            )
            found["mmpretrain's ViT"] = VisionTransformer(arch, **sizes)
        if find_spec('timm'):
            from timm.models.vision_transformer import VisionTransformer

            shape = dict(embed_dim=ours.embed_dims, depth=ours.num_layers, num_heads=ours.num_heads)
            found["timm's ViT"] = VisionTransformer(**sizes, **shape, num_classes=0)
        return {name: model.to(self.device) for name, model in found.items()}

    def images(self) -> Tensor:
        """A batch of noise."""
        return torch.randn(self.batch_size, 3, self.size, self.size, device=self.device)


def textbook(backbone: CRATE) -> nn.Module:
    """The same network with the same weights in the textbook formulation."""
    backbone = copy.deepcopy(backbone)
    for layer in backbone.layers:
        layer.attn, layer.ffn = TextbookMSSA(layer.attn), TextbookISTA(layer.ffn)
        layer.register_forward_hook(lambda *_: None)  # a layer that is watched computes every token, as released
    return backbone


def infer(model: nn.Module, images: Tensor) -> Tensor:
    """[CLS] of every image, without gradients."""
    with torch.no_grad():
        return _token(model(images))


def train(model: nn.Module, images: Tensor) -> None:
    """A forward and a backward pass."""
    _token(model(images)).float().square().mean().backward()
    model.zero_grad()


PASSES = dict(forward=infer, training=train)


def measure(
    subject: Subject, models: Mapping[str, nn.Module], repeats: int, passes: Sequence[str] = tuple(PASSES)
) -> dict[str, dict[str, dict[str, float]]]:
    """Time, operations and memory of each alternative.

    Args:
        subject: What is measured.
        models: Its alternatives.
        repeats: Of each alternative and of the matrix product, in turn.
        passes: Keys of ``PASSES``.

    Returns:
        Pass -> name -> ``seconds``, ``flops`` (that were executed, two per multiply-add) and ``bytes`` (at the peak,
        beyond weights and images; of the matrix product none).
    """
    images = subject.images()
    dtype = torch.bfloat16 if subject.bfloat16 else torch.float32
    square = torch.randn(SIDE, SIDE, device=subject.device, dtype=dtype)
    found = {}
    for kind in passes:
        run = PASSES[kind]
        for model in models.values():
            model.train(kind == 'training')
        with subject.precision():
            calls: dict[str, Callable] = {name: partial(run, model, images) for name, model in models.items()}
            numbers = {name: dict(bytes=peak_memory(run, model, images)) for name, model in models.items()}
            for name, call in calls.items():  # a second call: what is kept between calls is there
                with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
                    call()
                numbers[name]['flops'] = counter.get_total_flops()
            seconds = interleaved_medians({**calls, CEILING: partial(torch.mm, square, square)}, repeats)
        numbers[CEILING] = dict(flops=2 * SIDE**3)
        found[kind] = {name: dict(seconds=seconds[name], **values) for name, values in numbers.items()}
    return found


def difference(subject: Subject, models: Mapping[str, nn.Module]) -> float:
    """Largest difference between our output and the textbook's."""
    images = subject.images()
    with subject.precision():
        ours, theirs = (infer(models[name].eval(), images).float() for name in (OURS, TEXTBOOK))
    return float((ours - theirs).abs().max())


def report(found: Mapping[str, Mapping[str, Mapping[str, float]]], batch_size: int) -> str:
    """The measurements as text: for each pass images a second, what ours is times as fast as, and the rest.

    Args:
        found: What :func:`measure` returned.
        batch_size: Of the subject.
    """
    tables = []
    for kind, numbers in found.items():
        ceiling = _rate(numbers[CEILING])
        table = Table(box=box.SIMPLE, title=TITLES[kind], title_justify='left', title_style='')
        for column in ('', 'images/s', 'ours is', 'GFLOP/image', 'GFLOP/s', 'of the ceiling', 'peak MB'):
            table.add_column(column, justify='left' if column == '' else 'right')
        for name, row in numbers.items():
            if name != CEILING:
                table.add_row(
                    name,
                    f'{batch_size / row["seconds"]:.3g}',
                    f'{row["seconds"] / numbers[OURS]["seconds"]:.2f} x',
                    f'{row["flops"] / batch_size / 1e9:.3g}',
                    f'{_rate(row) / 1e9:,.0f}',
                    f'{_rate(row) / ceiling:.0%}',
                    f'{row["bytes"] / 1e6:,.0f}',
                )
        table.add_section()
        table.add_row(f'{CEILING}, {SIDE} x {SIDE}', '', '', '', f'{ceiling / 1e9:,.0f}', '', '')
        tables.append(plain_text(table))
    return '\n'.join(tables)


TITLES = dict(forward='Forward', training='Forward and backward')


def _rate(row: Mapping[str, float]) -> float:
    return row['flops'] / row['seconds']


def _token(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[-1]
