"""Timing alternatives against each other."""

import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

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
            start = now()
            function()
            seconds[name].append(now() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> str:
    """What the alternatives run on, in words: the GPU, or the processor (its model on Linux, elsewhere its kind)."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    model = re.search(r'^model name\s*: (.+)$', info.read_text(), re.MULTILINE) if info.is_file() else None
    return model[1] if model else platform.machine()


def now() -> float:
    """Seconds on the clock, after all that the GPU was told to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
