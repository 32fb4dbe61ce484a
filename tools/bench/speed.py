"""Measure speed and memory of our backbone, against the alternatives of its users.

They are the same network in the textbook formulation, and ViTs of its width and depth: mmpretrain's, and timm's where
it is installed. All of them also by torch.compile, if asked for.
"""

import copy
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from mmengine.device import get_device
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count

from projects.crate.models import CRATE
from projects.crate.models.layers import ISTA, MSSA, merge_heads, split_heads
from projects.crate.study.complexity import FUSED_ATTENTION, attention_flops
from projects.crate.study.tables import plain_table

from .memory import infer, peak_memory, train
from .timing import interleaved_medians

OURS, TEXTBOOK = 'this project', 'textbook'
CEILING = 'matrix product'  # ceiling for the operations per second of an alternative
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
        """Attend: (B, N, d) -> (B, N, d)."""
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
        """Take one step: (B, N, d) -> (B, N, d)."""
        second = F.linear(F.linear(x, self.weight), self.weight.t())
        first = F.linear(x, self.weight.t())
        return F.relu(x + self.eta * (first - second) - self.eta * self.lambd)


@dataclass(frozen=True)
class Subject:
    """Settings of a measurement: ``arch`` of a CRATE with MSSA and ISTA; ``patch_size`` and ``size`` in pixels."""

    arch: str
    patch_size: int
    size: int
    batch_size: int
    bfloat16: bool = False
    device: str = 'cpu'
    compiled: bool = False  # whether each alternative is also timed by torch.compile

    def precision(self) -> AbstractContextManager:
        """Return the context of every pass."""
        return torch.autocast(self.device, torch.bfloat16) if self.bfloat16 else nullcontext()

    def models(self) -> dict[str, nn.Module]:
        """Return the alternatives by name, with random weights; the first two have the same weights."""
        ours = CRATE(self.arch, img_size=self.size, patch_size=self.patch_size)
        sizes = dict(img_size=self.size, patch_size=self.patch_size)
        found = {OURS: ours, TEXTBOOK: textbook(ours)}
        if find_spec('mmpretrain'):
            from mmpretrain.models import VisionTransformer

            arch = {name: getattr(ours, name) for name in ('embed_dims', 'num_layers', 'num_heads')}
            found["mmpretrain's ViT"] = VisionTransformer(dict(arch, feedforward_channels=4 * ours.embed_dims), **sizes)
        if find_spec('timm'):
            from timm.models.vision_transformer import VisionTransformer

            shape = dict(embed_dim=ours.embed_dims, depth=ours.num_layers, num_heads=ours.num_heads)
            found["timm's ViT"] = VisionTransformer(**sizes, **shape, num_classes=0)
        return {name: model.to(self.device) for name, model in found.items()}

    def images(self) -> Tensor:
        """Return a batch of noise."""
        return torch.randn(self.batch_size, 3, self.size, self.size, device=self.device)


def textbook(backbone: CRATE) -> nn.Module:
    """Return the same network with the same weights in the textbook formulation."""
    backbone = copy.deepcopy(backbone)
    for layer in backbone.layers:
        layer.attn, layer.ffn = TextbookMSSA(layer.attn), TextbookISTA(layer.ffn)
        layer.register_forward_hook(lambda *_: None)  # a layer that is watched computes every token, as released
    return backbone


# kind of pass -> its function, its title
PASSES = dict(forward=(infer, 'Forward'), training=(train, 'Forward and backward'))


def run(args: Namespace) -> tuple[dict, str]:
    subject = Subject(args.arch, args.patch_size, args.size, args.batch_size, args.bf16, get_device(), args.compile)
    models = subject.models()
    found = measure(subject, models, args.repeats, args.passes)
    largest = difference(subject, models)  # afterwards: it leaves matrices that the memory would not show
    text = f'largest difference to the textbook formulation: {largest:.1e}\n{report(found, args.batch_size)}'
    return dict(vars(subject), difference=largest, passes=found), text


def measure(
    subject: Subject, models: Mapping[str, nn.Module], repeats: int, passes: Sequence[str] = tuple(PASSES)
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure time, operations and memory of each alternative in each pass.

    Returns:
        Pass -> name -> median ``seconds``, ``flops`` (executed, two per multiply-add) and ``bytes`` (at the peak,
        beyond weights and images). torch.compile changes the seconds; operations and bytes are those without it. The
        matrix product ``CEILING`` is timed along, without bytes.
    """
    images = subject.images()
    dtype = torch.bfloat16 if subject.bfloat16 else torch.float32
    square = torch.randn(SIDE, SIDE, device=subject.device, dtype=dtype)
    found = {}
    for kind in passes:
        run, _ = PASSES[kind]
        with subject.precision():
            calls: dict[str, Callable] = {name: partial(run, model, images) for name, model in models.items()}
            numbers = {name: dict(bytes=peak_memory(run, model, images)) for name, model in models.items()}
            for name, call in calls.items():  # a second call: the caches between calls are filled
                with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
                    call()
                numbers[name]['flops'] = counter.get_total_flops()
            for name, model in models.items() if subject.compiled else ():
                calls[f'{name}, compiled'] = partial(run, torch.compile(model), images)
                numbers[f'{name}, compiled'] = numbers[name]  # what is compiled hides its operations
            seconds = interleaved_medians({**calls, CEILING: partial(torch.mm, square, square)}, repeats)
        numbers[CEILING] = dict(flops=2 * SIDE**3)
        found[kind] = {name: dict(seconds=seconds[name], **values) for name, values in numbers.items()}
    return found


def difference(subject: Subject, models: Mapping[str, nn.Module]) -> float:
    """Return the largest difference between our output and the textbook's."""
    images = subject.images()
    with subject.precision():
        ours, theirs = (infer(models[name], images).float() for name in (OURS, TEXTBOOK))
    return float((ours - theirs).abs().max())


def report(found: Mapping[str, Mapping[str, Mapping[str, float]]], batch_size: int) -> str:
    """Return the results of :func:`measure` for batches of ``batch_size`` as text."""
    columns = ('', 'images/s', 'ours is', 'GFLOP/image', 'GFLOP/s', 'of the ceiling', 'peak MB')
    tables = []
    for kind, numbers in found.items():
        ceiling = _rate(numbers[CEILING])
        rows = [
            (
                name,
                f'{batch_size / row["seconds"]:.3g}',
                f'{row["seconds"] / numbers[OURS]["seconds"]:.2f} x',
                f'{row["flops"] / batch_size / 1e9:.3g}',
                f'{_rate(row) / 1e9:,.0f}',
                f'{_rate(row) / ceiling:.0%}',
                f'{row["bytes"] / 1e6:,.0f}',
            )
            for name, row in numbers.items()
            if name != CEILING
        ]
        last = (f'{CEILING}, {SIDE} x {SIDE}', '', '', '', f'{ceiling / 1e9:,.0f}', '', '')
        tables.append(plain_table(columns, [*rows, None, last], PASSES[kind][1]))
    return '\n'.join(tables)


def _rate(row: Mapping[str, float]) -> float:
    return row['flops'] / row['seconds']
