"""Peak memory and speed of a backbone on a detector's images, against the window of its attention.

The alternative is attention with its N x N matrix in memory: torch's 'math' kernel, what every ViT does whose attention
is not fused.
"""

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from rich import box
from rich.table import Table
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from projects.crate.models import CRATE

from .text import plain_text
from .timing import interleaved_medians

# What computes the attention -> context in which it does.
KERNELS = dict(fused=nullcontext, matrix=partial(sdpa_kernel, SDPBackend.MATH))


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that operators made and that are still in use, and the most that it ever was.

    Args:
        given: Tensors that were there before; they, and views of them, do not count.

    Attributes:
        live: Bytes in use now.
        peak: Most bytes in use at the end of an operator.
    """

    def __init__(self, given: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._storages = WeakIdKeyDictionary({tensor.untyped_storage(): None for tensor in given})

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operator, and see what it made."""
        outputs = func(*args, **(kwargs or {}))
        for output in tree_leaves(outputs):
            if isinstance(output, Tensor) and output.untyped_storage() not in self._storages:
                self._add(output.untyped_storage())
        self.peak = max(self.peak, self.live)
        return outputs

    def _add(self, storage: torch.UntypedStorage) -> None:
        self._storages[storage] = None
        self.live += storage.nbytes()
        weakref.finalize(storage, self._remove, storage.nbytes())

    def _remove(self, nbytes: int) -> None:
        self.live -= nbytes


def peak_memory(step: Callable[[nn.Module, Tensor], object], model: nn.Module, image: Tensor) -> int:
    """Bytes that a call of ``step(model, image)`` takes at its peak, beyond weights and image.

    On a GPU ``torch.cuda.max_memory_allocated``: all that torch allocates. Elsewhere the bytes of live tensors
    (:class:`LiveBytes`): activations, what autograd keeps, gradients; not the work space within an operator.
    """
    if image.is_cuda:
        torch.cuda.reset_peak_memory_stats(image.device)
        before = torch.cuda.memory_allocated(image.device)
        step(model, image)
        return torch.cuda.max_memory_allocated(image.device) - before
    with LiveBytes([*model.parameters(), *model.buffers(), image]) as memory:
        step(model, image)
    return memory.peak


def measure(
    arch: str | dict,
    patch_size: int,
    sizes: Sequence[int],
    windows: Sequence[int | None],
    global_layers: Sequence[int] | None = None,
    device: torch.device | str = 'cpu',
) -> Iterator[dict]:
    """Peak memory of each window, one square image after the other, in float32.

    Args:
        arch: Of a CRATE.
        patch_size: Side of a patch in pixels.
        sizes: Sides of the images in pixels.
        windows: Sides of the windows in tokens; None: all layers are global.
        global_layers: ``global_attn_indexes`` of the backbone where it has windows.
        device: Where it runs.

    Yields:
        ``size``, ``tokens``, ``kernel`` and ``window``, and in bytes: ``forward`` (without gradients), ``training``
        (forward and backward, with the gradients of the weights), ``checkpointed`` (the same with ``with_cp``).
    """
    # without a GPU nothing is computed: fake tensors have shapes, and so bytes, but no values
    is_fake = torch.device(device).type != 'cuda'
    for size, kernel, window in itertools.product(sizes, KERNELS, windows):
        with torch.device('meta' if is_fake else device):
            model = build(arch, patch_size, window, global_layers)
        with FakeTensorMode(allow_non_fake_inputs=True) if is_fake else nullcontext():
            model = model.to_empty(device=device) if is_fake else model
            image = torch.empty(1, 3, size, size, device=device)
            with KERNELS[kernel]():
                bytes_taken = {kind: peak_memory(step, model, image) for kind, step in STEPS.items()}
        yield dict(size=size, tokens=(-(-size // patch_size)) ** 2, kernel=kernel, window=window, **bytes_taken)


def measure_speed(
    arch: str | dict,
    patch_size: int,
    size: int,
    windows: Sequence[int | None],
    repeats: int,
    global_layers: Sequence[int] | None = None,
    device: torch.device | str = 'cpu',
) -> dict[int | None, float]:
    """Median seconds of a forward pass with each window, by fused attention; arguments as for :func:`measure`."""
    image = torch.randn(1, 3, size, size, device=device)
    models = {window: build(arch, patch_size, window, global_layers).to(device) for window in windows}
    return interleaved_medians({window: partial(infer, model, image) for window, model in models.items()}, repeats)


def build(arch: str | dict, patch_size: int, window: int | None, global_layers: Sequence[int] | None) -> nn.Module:
    """A backbone as a detector has it, with random weights."""
    windows = {} if window is None else dict(window_size=window, global_attn_indexes=global_layers)
    return CRATE(arch, patch_size=patch_size, out_type='featmap', **windows)


@torch.no_grad()
def infer(model: nn.Module, image: Tensor) -> None:
    """A forward pass that keeps nothing."""
    model.eval()(image)


def train(model: nn.Module, image: Tensor, with_cp: bool = False) -> None:
    """A forward and a backward pass; the gradients are there at its end, and then no more."""
    model.train().with_cp = with_cp
    model(image)[0].sum().backward()
    model.zero_grad()


# What is measured -> how.
STEPS = dict(forward=infer, training=train, checkpointed=partial(train, with_cp=True))


def report(rows: Sequence[dict], seconds: dict[int | None, float]) -> str:
    """The measurements as text.

    Args:
        rows: What :func:`measure` yielded.
        seconds: What :func:`measure_speed` returned; with None, the global attention, among its windows.
    """
    table = Table(
        box=box.SIMPLE,
        title='Peak memory in MB beyond weights and image, one image, float32.\n'
        'attention fused: none of its matrices in memory; matrix: all of them',
        title_justify='left',
        title_style='',
    )
    for column in ('image', 'tokens', 'attention', 'window', 'forward', '+ backward', 'checkpointed', 'KB/token'):
        table.add_column(column, justify='right')
    group = None
    for row in rows:
        if group not in (None, (row['size'], row['kernel'])):
            table.add_section()
        group = row['size'], row['kernel']
        megabytes = (f'{row[kind] / 1e6:,.0f}' for kind in ('forward', 'training', 'checkpointed'))
        per_token = f'{row["training"] / row["tokens"] / 1e3:,.0f}'
        table.add_row(str(row['size']), str(row['tokens']), row['kernel'], name(row['window']), *megabytes, per_token)
    ratios = [f'{name(window)} {s:.4g} ({seconds[None] / s:.2f})' for window, s in seconds.items()]
    return '\n'.join(
        [plain_text(table), f'Forward in seconds, medians (times as fast as global): {" | ".join(ratios)}']
    )


def name(window: int | None) -> str:
    """A window in words."""
    return 'global' if window is None else str(window)
