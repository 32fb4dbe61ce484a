"""Figures on disk."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..files import atomic, make_folder


def drawable(name: str) -> str:
    """Return a name as matplotlib can draw it: bytes of a path that are no text are escaped, '$' begins no formula."""
    return name.encode('utf-8', 'backslashreplace').decode().replace('$', r'\$')


def save_figure(figure: Figure, stem: Path, **arrays: np.ndarray) -> list[Path]:
    """Write a figure as PNG and as PDF, and the numbers in it as npz, each in one step.

    Args:
        figure: The figure.
        stem: Path without suffix; its folder is made.
        **arrays: What is drawn, by name.

    Returns:
        The three paths.
    """
    make_folder(stem.parent)
    paths = [stem.with_name(f'{stem.name}.{suffix}') for suffix in ('png', 'pdf', 'npz')]
    for path in paths[:2]:
        with atomic(path) as part:
            figure.savefig(part, format=path.suffix[1:], dpi=150)
    with atomic(paths[2]) as part, part.open('wb') as file:  # given a path, numpy adds a suffix of its own
        np.savez_compressed(file, **arrays)
    return paths
