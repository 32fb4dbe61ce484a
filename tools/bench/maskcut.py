"""Measure an eigenvector and a whole MaskCut, against dense solvers and other iterative ones."""

import multiprocessing
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from scipy.sparse.linalg import LinearOperator, eigsh

from projects.crate.errors import UserError
from projects.crate.maskcut import maskcut
from projects.crate.maskcut.affinity import AffinityGraph
from projects.crate.maskcut.eigen import TOLERANCE, second_eigenvector

from .dense_maskcut import affinity, dense_maskcut, eigenvectors
from .timing import interleaved_medians

TAU, NUM_MASKS = 0.15, 3


def run(args: Namespace) -> tuple[dict, str]:
    if not args.features.is_file():
        raise UserError(f'{args.features}: no such file; give an npz file with --features')
    rows = measure(read_features(args.features), args.repeats)
    memory = {f'{side} x {side}': peak_memory(ready_maskcut, side) for side in args.sides}
    return dict(images=rows, memory_mb=memory), report(rows, memory)


def read_features(path: Path) -> dict[str, torch.Tensor]:
    """Return features (C, h * h) by name of image, from the entries ``NAME_feat`` of an npz file."""
    with np.load(path) as file:
        return {key.removesuffix('_feat'): torch.from_numpy(file[key]) for key in file.files if key.endswith('_feat')}


def measure(features: dict[str, torch.Tensor], repeats: int) -> list[dict]:
    """Return the median seconds of every alternative, per image.

    'eigenvector' starts from the graph; 'masks' goes from features to three masks, 'dense' with one dense eigenproblem
    per round as published.
    """
    rows = []
    for name, image in track(features.items(), 'MaskCut', transient=True):
        side = int(image.shape[1] ** 0.5)
        graph, A = AffinityGraph(image[None], TAU), affinity(image.numpy(), TAU)
        solvers = {
            'ours': partial(second_eigenvector, graph),
            'scipy eigh': partial(eigenvectors, A),
            'scipy eigsh, our products': partial(arpack, graph),
            'torch lobpcg, dense': partial(lobpcg, graph),
        }
        eigenvector = interleaved_medians(solvers, repeats)
        cutters = {
            'ours': partial(maskcut, image, (side, side), TAU, NUM_MASKS),
            'dense': partial(dense_maskcut, image.numpy(), (side, side), TAU, NUM_MASKS),
        }
        masks = interleaved_medians(cutters, repeats)
        rows.append(dict(image=name, tokens=side * side, eigenvector=eigenvector, masks=masks))
    return rows


def arpack(graph: AffinityGraph) -> np.ndarray:
    """Return the second eigenvector by ARPACK, with the products of our graph."""
    leading = graph.leading[0].numpy()

    def deflated(v: np.ndarray) -> np.ndarray:
        v = v.ravel()
        return graph.normalised_product(torch.from_numpy(v)[None])[0].numpy() - leading * (leading @ v)

    operator = LinearOperator((len(leading), len(leading)), matvec=deflated, dtype=np.float64)
    return eigsh(operator, k=1, which='LA', tol=TOLERANCE, v0=np.sin(np.arange(1.0, len(leading) + 1) ** 2))[1][:, 0]


def lobpcg(graph: AffinityGraph) -> torch.Tensor:
    """Return the second eigenvector by torch's LOBPCG on a dense matrix of doubles."""
    leading = graph.leading[0]
    start = torch.randn(len(leading), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = graph.normalised_matrix(0) - leading.outer(leading)
    return torch.lobpcg(matrix, k=1, X=start, tol=TOLERANCE)[1][:, 0]


def ready_maskcut(side: int, channels: int = 384) -> Callable[[], object]:
    """Return ``maskcut`` of random features on a side x side grid, with its libraries loaded."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, channels, 9, 9, generator=generator)
    features = F.interpolate(coarse, size=(side, side), mode='bicubic')[0].flatten(1)
    features += 0.3 * torch.randn(channels, side**2, generator=generator)
    maskcut(features[:, :100], (10, 10))
    return partial(maskcut, features, (side, side))


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """Return the peak of the memory in MB that the function ``prepare(*arguments)`` adds when it is called; Linux only.

    A fresh process measures it: this process would use memory of earlier calls again.
    """
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_added_memory, (torch.get_num_threads(), prepare, *arguments))


def _added_memory(threads: int, prepare: Callable[..., Callable[[], object]], *arguments: object) -> float:
    torch.set_num_threads(threads)
    function = prepare(*arguments)
    Path('/proc/self/clear_refs').write_text('5')  # resets the peak
    before = _status('VmRSS')
    function()
    return _status('VmHWM') - before


def _status(field: str) -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def report(rows: list[dict], memory: dict[str, float]) -> str:
    lines = ['Seconds, medians; in brackets how many times as long as ours.', '']
    for row in rows:
        lines.append(f'{row["image"]}, {row["tokens"]} tokens')
        for part in ('eigenvector', 'masks'):
            ours = row[part]['ours']
            others = [f'{name} {s:.4g} ({s / ours:.1f})' for name, s in row[part].items() if name != 'ours']
            lines.append(f'  {part:12} ours {ours:.4g} | ' + ' | '.join(others))
    lines.append('')
    for part, alternative in (('eigenvector', 'scipy eigh'), ('masks', 'dense')):
        ratios = [row[part][alternative] / row[part]['ours'] for row in rows]
        lines.append(f'{part}: {alternative} / ours, median over images: {np.median(ratios):.1f}')
    lines += [f'memory added by one maskcut, {grid}: {mb:.0f} MB' for grid, mb in memory.items()]
    return '\n'.join(lines)
