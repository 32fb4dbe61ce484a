"""What torch really runs."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Record(TorchDispatchMode):
    """Names and output shapes of every operator that runs, forward or backward."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        outputs = result if isinstance(result, (tuple, list)) else [result]
        shapes = [tuple(output.shape) for output in outputs if isinstance(output, torch.Tensor)]
        self.calls.append((str(func), shapes))
        return result
