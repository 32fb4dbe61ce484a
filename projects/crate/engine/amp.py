"""Mixed precision where there is no loss scaler."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import autocast
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Forward pass under bfloat16 autocast on whatever device is there, CPU included.

    Weights and optimiser stay in float32.

    bfloat16 has the exponent range of float32, so that gradients need no scaling and nothing has to be skipped or
    unscaled: accumulation and clipping are those of ``OptimWrapper``. mmengine's ``AmpOptimWrapper`` refuses to run on
    a CPU. ``tools/train.py --amp`` chooses.

    Args: as :class:`mmengine.optim.OptimWrapper`.

    >>> optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast, and mmengine's context that puts off gradient synchronisation while accumulating."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
