"""Figures on disk."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..files import atomic


def save_figure(figure: Figure, stem: Path, **arrays: np.ndarray) -> list[Path]:
    """Write a figure as PNG and as PDF, and the numbers in it as npz, each in one step.

    Args:
        figure: The figure.
        stem: Path without suffix; its folder is made.
        **arrays: What is drawn, by name.

    Returns:
        The three paths.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f'{stem.name}.{suffix}') for suffix in ('png', 'pdf', 'npz')]
    for path in paths[:2]:
        with atomic(path) as part:
            figure.savefig(part, format=path.suffix[1:], dpi=150)
    with atomic(paths[2]) as part, part.open('wb') as file:  # given a path, numpy adds a suffix of its own
        np.savez_compressed(file, **arrays)
    return paths
