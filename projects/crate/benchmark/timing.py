"""Timing alternatives against each other."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def interleaved_medians(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall-clock seconds of each alternative, all called in turn, so that a slow minute slows them all.

    Args:
        alternatives: Name -> function without arguments.
        repeats: Calls of each; the first one's warm-up is left to the median.
    """
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, function in alternatives.items():
            start = _now()
            function()
            seconds[name].append(_now() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
