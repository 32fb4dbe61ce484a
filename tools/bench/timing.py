"""Time alternatives against each other."""

import platform
import re
import statistics
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def interleaved_medians(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each alternative. All are called in turn, so that a slow minute slows them all.

    The clock is that of ``torch.utils.benchmark``, which waits for the accelerator. Its ``Timer`` would call each
    alternative twice before every measurement, and a dense MaskCut takes half a minute. The first call is the warm-up;
    the median hides it.
    """
    timers = {name: timeit.Timer(function, timer=now) for name, function in alternatives.items()}
    rounds = [{name: timer.timeit(1) for name, timer in timers.items()} for _ in range(repeats)]
    return {name: statistics.median(seconds[name] for seconds in rounds) for name in timers}


def machine() -> str:
    """Return the name of the GPU or of the processor (on Linux its model, elsewhere its kind)."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    model = re.search(r'^model name\s*: (.+)$', info.read_text(), re.MULTILINE) if info.is_file() else None
    return model[1] if model else platform.machine()


def now() -> float:
    """Return seconds on the clock, after all that the accelerator was told to do."""
    from torch.utils.benchmark import timer  # here: the import takes long, and may warn of a missing GPU

    return timer()
