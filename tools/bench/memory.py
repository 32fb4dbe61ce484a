"""Measure memory and speed of a backbone on a detector's images, against the window of its attention.

The alternative is attention with its N x N matrix in memory (torch's 'math' kernel), as in a ViT without fusion.
"""

import itertools
import sys
import weakref
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from mmengine.device import get_device
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from projects.crate.models import CRATE
from projects.crate.study.tables import plain_table

from .timing import interleaved_medians

# kernel of the attention -> context that chooses it
KERNELS = dict(fused=nullcontext, matrix=partial(sdpa_kernel, SDPBackend.MATH))


class LiveBytes(TorchDispatchMode):
    """Count the bytes of the tensors that operators made and that are still in use.

    ``live`` are the bytes in use now, ``peak`` the most at the end of any operator. Tensors in ``given``, and views of
    them, do not count.
    """

    def __init__(self, given: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._storages = WeakIdKeyDictionary({tensor.untyped_storage(): None for tensor in given})

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operator, and count its results."""
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
    """Return the bytes that ``step(model, image)`` takes at its peak, beyond weights and image.

    On a GPU that is ``torch.cuda.max_memory_allocated``. Elsewhere it is :class:`LiveBytes`: activations, what autograd
    keeps and gradients, without the work space within an operator.
    """
    if image.is_cuda:
        torch.cuda.reset_peak_memory_stats(image.device)
        before = torch.cuda.memory_allocated(image.device)
        step(model, image)
        return torch.cuda.max_memory_allocated(image.device) - before
    with LiveBytes([*model.parameters(), *model.buffers(), image]) as memory:
        step(model, image)
    return memory.peak


def run(args: Namespace) -> tuple[dict, str]:
    windows, device = [*args.windows, None], get_device()
    subject = dict(arch=args.arch, patch_size=args.patch_size, windows=windows, device=device)
    subject['global_layers'] = [] if args.no_global_layers else None
    progress = dict(transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty())
    total = len(args.sizes) * len(KERNELS) * len(windows)
    rows = list(track(measure(sizes=args.sizes, **subject), 'memory', total, **progress))
    seconds = measure_speed(size=args.sizes[-1], repeats=args.repeats, **subject)
    named = {name(window): s for window, s in seconds.items()}
    return dict(arch=args.arch, patch_size=args.patch_size, memory=rows, seconds=named), report(rows, seconds)


def measure(
    arch: str | dict,
    patch_size: int,
    sizes: Sequence[int],
    windows: Sequence[int | None],
    global_layers: Sequence[int] | None = None,
    device: torch.device | str = 'cpu',
) -> Iterator[dict]:
    """Measure the peak memory of each window on one square image, in float32.

    ``sizes`` are sides of the images in pixels; ``windows`` are sides in tokens, where None makes all layers global.

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
    """Return the median seconds of a forward pass with each window; arguments as for :func:`measure`."""
    image = torch.randn(1, 3, size, size, device=device)
    models = {window: build(arch, patch_size, window, global_layers).to(device) for window in windows}
    return interleaved_medians({window: partial(infer, model, image) for window, model in models.items()}, repeats)


def build(arch: str | dict, patch_size: int, window: int | None, global_layers: Sequence[int] | None) -> nn.Module:
    """Return a backbone as a detector has it, with random weights."""
    windows = {} if window is None else dict(window_size=window, global_attn_indexes=global_layers)
    return CRATE(arch, patch_size=patch_size, out_type='featmap', **windows)


@torch.no_grad()
def infer(model: nn.Module, images: Tensor) -> Tensor:
    """Return the last output of a forward pass without gradients."""
    model.eval()  # mmpretrain's backbones return nothing here
    return _last(model(images))


def train(model: nn.Module, images: Tensor, with_cp: bool = False) -> None:
    """Run a forward and a backward pass, and drop the gradients."""
    model.train()
    model.with_cp = with_cp
    _last(model(images)).float().sum().backward()
    model.zero_grad()


def _last(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[-1]


STEPS = dict(forward=infer, training=train, checkpointed=partial(train, with_cp=True))


def report(rows: Sequence[dict], seconds: dict[int | None, float]) -> str:
    """Return the numbers of :func:`measure` and :func:`measure_speed` as text; ``seconds`` needs the key None."""
    cells: list[list[str] | None] = []
    for group, members in itertools.groupby(rows, key=lambda row: (row['size'], row['kernel'])):
        cells += [None] if cells else []
        for row in members:
            megabytes = [f'{row[kind] / 1e6:,.0f}' for kind in STEPS]
            per_token = f'{row["training"] / row["tokens"] / 1e3:,.0f}'
            cells.append([str(group[0]), str(row['tokens']), group[1], name(row['window']), *megabytes, per_token])
    title = (
        'Peak memory in MB beyond weights and image, one image, float32.\n'
        'attention fused: none of its matrices in memory; matrix: all of them'
    )
    columns = ('image', 'tokens', 'attention', 'window', 'forward', '+ backward', 'checkpointed', 'KB/token')
    ratios = [f'{name(window)} {s:.4g} ({seconds[None] / s:.2f})' for window, s in seconds.items()]
    last = f'Forward in seconds, medians (times as fast as global): {" | ".join(ratios)}'
    return f'{plain_table(columns, cells, title)}\n{last}'


def name(window: int | None) -> str:
    """Return a window in words."""
    return 'global' if window is None else str(window)
